//! Structures: the chosen delta modules, content-addressed, with where they came from.

use super::space::canonical_order;
use super::{Budget, DeltaModule, Error, Positions, Result, Selection, Serving, Shape, Space, choose};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The `format` field of a structure document.
pub const STRUCTURE_FORMAT: &str = "s3delta.structure/1";

/// A structure: plain data, content-addressed by shape signature and modules, so that the same structure found twice is
/// one object with two provenances.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Structure {
    /// Always [`STRUCTURE_FORMAT`].
    pub format: String,
    /// Digest of shape signature and modules; may be left out on upload.
    #[serde(default)]
    pub id: String,
    /// The backbone shape that it fits.
    pub shape: Shape,
    /// The chosen modules in canonical order.
    pub modules: Vec<DeltaModule>,
    /// Where it came from; one entry per search or upload that gave it.
    #[serde(default)]
    pub provenance: Vec<Provenance>,
    /// What serving it takes and shares, told by a server; ignored in an upload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serving: Option<Serving>,
}

/// One way in which a structure came about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// What made it.
    pub origin: Origin,
    /// When, in UTC.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// Task it was searched on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_task: Option<String>,
    /// Digest of that task's data and template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_digest: Option<String>,
    /// Digest of the backbone's weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backbone_digest: Option<String>,
    /// Job that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Digests of the structures it was made from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<String>,
    /// Seeds whose p were averaged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seeds: Vec<u64>,
    /// Search settings.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    #[schema(value_type = Object)]
    pub settings: serde_json::Value,
    /// Name of the search space.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space: Option<String>,
    /// Parameters allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<usize>,
    /// Every module of the space with its p, in canonical order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probabilities: Vec<ModuleProbability>,
}

/// What made a structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A search.
    Search,
    /// A user's upload or import.
    Upload,
    /// A random draw, as a baseline.
    Random,
    /// A hand-made baseline such as BitFit.
    Manual,
    /// The mean over several structures' p, chosen anew.
    Average,
}

/// A module of a search space with the search's probability for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ModuleProbability {
    /// The module.
    pub module: DeltaModule,
    /// Its probability p in [0, 1].
    pub p: f64,
    /// Its trained parameters.
    pub parameters: usize,
}

impl Provenance {
    /// A provenance of this origin, now, with nothing else known.
    pub fn new(origin: Origin) -> Self {
        Self {
            origin,
            created: Timestamp::now(),
            source_task: None,
            task_digest: None,
            backbone_digest: None,
            job: None,
            parents: Vec::new(),
            seeds: Vec::new(),
            settings: serde_json::Value::Null,
            space: None,
            budget: None,
            probabilities: Vec::new(),
        }
    }
}

impl Structure {
    /// A structure of these modules; checks every one and computes the id.
    pub fn new(shape: &Shape, mut modules: Vec<DeltaModule>, provenance: Provenance) -> Result<Self> {
        canonical_order(&Positions::new(shape), &mut modules)?;
        let id = digest(shape, &modules);
        let format = STRUCTURE_FORMAT.into();
        Ok(Self { format, id, shape: shape.clone(), modules, provenance: vec![provenance], serving: None })
    }

    /// The structure that `p` over a space gives under a budget; the p of the whole space go into its provenance.
    pub fn discretise(
        space: &Space,
        p: &[f64],
        budget: usize,
        selection: Selection,
        mut provenance: Provenance,
    ) -> Result<Self> {
        let chosen = choose(selection, p, space.sizes(), budget)?;
        let modules = space.modules().iter().zip(&chosen).filter(|(_, chosen)| **chosen).map(|(m, _)| m.clone());
        let each = space.modules().iter().zip(p).zip(space.sizes());
        provenance.probabilities =
            each.map(|((m, p), size)| ModuleProbability { module: m.clone(), p: *p, parameters: *size }).collect();
        provenance.space = Some(space.name().into());
        provenance.budget = Some(budget);
        Self::new(space.positions().shape(), modules.collect(), provenance)
    }

    /// Checks an uploaded document: format, modules, order, probabilities and, if given, its id.
    pub fn validate(mut self) -> Result<Self> {
        if self.format != STRUCTURE_FORMAT {
            let found = &self.format;
            return Err(Error::Document(format!("format `{found}` is not known: it must be `{STRUCTURE_FORMAT}`")));
        }
        if self.modules.is_empty() {
            return Err(Error::Document("the structure has no module: give at least one".into()));
        }
        self.shape.check()?;
        let positions = Positions::new(&self.shape);
        canonical_order(&positions, &mut self.modules)?;
        for entry in self.provenance.iter().flat_map(|provenance| &provenance.probabilities) {
            let id = entry.module.check(&positions)?;
            let parameters = entry.module.kind.parameters(positions.site(id));
            if !(0.0..=1.0).contains(&entry.p) || entry.parameters != parameters {
                return Err(Error::Document(format!(
                    "the probability of {} at `{}` must lie in 0..1 and its parameters be {parameters}, \
                     not p {} and {} parameters",
                    entry.module.kind.name().as_str(),
                    entry.module.position,
                    entry.p,
                    entry.parameters
                )));
            }
        }
        let id = digest(&self.shape, &self.modules);
        if !self.id.is_empty() && self.id != id {
            let given = &self.id;
            return Err(Error::Document(format!("the id `{given}` is not the digest of its modules, which is `{id}`")));
        }
        self.id = id;
        self.serving = None;
        Ok(self)
    }

    /// Trained parameters of the chosen modules.
    pub fn parameters(&self) -> usize {
        let positions = Positions::new(&self.shape);
        let size = |m: &DeltaModule| positions.id(&m.position).map_or(0, |id| m.kind.parameters(positions.site(id)));
        self.modules.iter().map(size).sum()
    }

    /// Whether a module stands on `lm_head`, which makes the vocabulary part of the shape.
    pub fn touches_lm_head(&self) -> bool {
        touches_lm_head(&self.modules)
    }

    /// Refuses a backbone of another shape.
    pub fn check_fits(&self, shape: &Shape) -> Result<()> {
        if self.shape.fits(shape, self.touches_lm_head()) {
            return Ok(());
        }
        let with_vocabulary = self.touches_lm_head();
        Err(Error::ShapeMismatch {
            wanted: self.shape.signature(with_vocabulary),
            found: shape.signature(with_vocabulary),
        })
    }

    /// Adds the provenances of `other`, the same structure found again.
    pub fn merge(&mut self, other: Structure) {
        for provenance in other.provenance {
            if !self.provenance.contains(&provenance) {
                self.provenance.push(provenance);
            }
        }
    }

    /// The same search's structure at another budget: its p, chosen anew.
    pub fn with_budget(&self, budget: Budget, backbone_parameters: usize, selection: Selection) -> Result<Self> {
        let searched = self.provenance.iter().rev().find(|provenance| !provenance.probabilities.is_empty());
        let Some(searched) = searched else {
            return Err(Error::Document(format!("structure {} has no probabilities to choose from anew", self.id)));
        };
        let modules = searched.probabilities.iter().map(|entry| entry.module.clone()).collect();
        let name = searched.space.as_deref().unwrap_or("unnamed");
        let space = Space::from_modules(name, Positions::new(&self.shape), modules)?;
        let p: Vec<_> = searched.probabilities.iter().map(|entry| entry.p).collect();
        let budget = budget.resolve(&space, backbone_parameters)?;
        let provenance = Provenance { parents: vec![self.id.clone()], created: Timestamp::now(), ..searched.clone() };
        Self::discretise(&space, &p, budget, selection, provenance)
    }
}

fn touches_lm_head(modules: &[DeltaModule]) -> bool {
    modules.iter().any(|module| module.position == "lm_head")
}

fn digest(shape: &Shape, modules: &[DeltaModule]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(shape.signature(touches_lm_head(modules)).as_bytes());
    for module in modules {
        hasher.update(b"\n");
        hasher.update(module.signature().as_bytes());
    }
    hasher.finalize().to_hex()[..32].to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structure::Kind;

    fn shape() -> Shape {
        Shape::small()
    }

    fn structure() -> Structure {
        let modules = vec![
            DeltaModule::new("decoder.final_layer_norm", Kind::Bitfit),
            DeltaModule::new("encoder.block.0.layer.0.SelfAttention.q", Kind::Lora { rank: 1, alpha: 16.0 }),
        ];
        Structure::new(&shape(), modules, Provenance::new(Origin::Upload)).unwrap()
    }

    #[test]
    fn the_id_ignores_order_provenance_and_vocabulary() {
        let one = structure();
        let mut modules = one.modules.clone();
        modules.reverse();
        let other_shape = Shape { vocab_size: 7, ..shape() };
        let two = Structure::new(&other_shape, modules, Provenance::new(Origin::Random)).unwrap();
        assert_eq!(one.id, two.id);
        let mut modules = one.modules.clone();
        modules[0].kind = Kind::Lora { rank: 2, alpha: 16.0 };
        assert_ne!(one.id, Structure::new(&shape(), modules, Provenance::new(Origin::Upload)).unwrap().id);
    }

    #[test]
    fn documents_round_trip_and_lies_are_named() {
        let one = structure();
        let text = serde_json::to_string(&one).unwrap();
        assert_eq!(serde_json::from_str::<Structure>(&text).unwrap().validate().unwrap(), one);
        let told = Structure { serving: Some(one.cost()), ..one.clone() };
        let text = serde_json::to_string(&told).unwrap();
        assert_eq!(serde_json::from_str::<Structure>(&text).unwrap().validate().unwrap(), one, "what a server told");
        let check = |change: fn(&mut serde_json::Value), wanted: &str| {
            let mut value = serde_json::to_value(&one).unwrap();
            change(&mut value);
            let found = serde_json::from_value::<Structure>(value).map_err(|e| e.to_string());
            let found = found.and_then(|s| s.validate().map_err(|e| e.to_string())).unwrap_err();
            assert!(found.contains(wanted), "{found}");
        };
        check(|v| v["id"] = "00".into(), "not the digest");
        check(|v| v["format"] = "s3delta.structure/9".into(), "format");
        check(|v| v["modules"][0]["position"] = "encoder.block.9.layer.0.SelfAttention.q".into(), "block.9");
        check(|v| v["modules"][0]["bottleneck"] = 3.into(), "lora has no `bottleneck`");
        check(|v| v["modules"] = serde_json::json!([]), "no module");
        check(|v| v["colour"] = "red".into(), "unknown field `colour`");
        check(|v| v["shape"]["encoder_layers"] = (1u64 << 40).into(), "encoder_layers is 1099511627776");
        check(|v| v["shape"]["num_heads"] = (1u64 << 23).into(), "num_heads · d_kv is 134217728");
        check(|v| v["modules"][0]["alpha"] = 1e300.into(), "alpha");
    }

    #[test]
    fn another_shape_is_refused_by_name() {
        let other = Shape { d_model: 128, ..shape() };
        let message = structure().check_fits(&other).unwrap_err().to_string();
        assert!(message.contains("d_model=64") && message.contains("d_model=128"), "{message}");
        assert!(structure().check_fits(&Shape { vocab_size: 5, ..shape() }).is_ok());
    }

    #[test]
    fn another_budget_chooses_anew() {
        let space = Space::built_in("mix", &shape()).unwrap();
        let p: Vec<_> = (0..space.len()).map(|i| (i % 17) as f64 / 17.0).collect();
        let provenance = Provenance::new(Origin::Search);
        let small = Structure::discretise(&space, &p, 500, Selection::Exact, provenance).unwrap();
        assert!(small.parameters() <= 500);
        let large = small.with_budget(Budget::Share(0.5), 1_000_000, Selection::Exact).unwrap();
        assert!(large.parameters() > 500 && large.parameters() <= space.parameters() / 2 + 1);
        assert_eq!(large.provenance[0].parents, [small.id]);
    }
}
