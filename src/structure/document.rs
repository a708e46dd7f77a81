//! Structures: the chosen delta modules, content-addressed.

use super::space::canonical_order;
use super::{DeltaModule, Error, Positions, Provenance, Result, Serving, Shape};
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

impl Structure {
    /// A structure of these modules; checks every one and computes the id.
    pub fn new(shape: &Shape, mut modules: Vec<DeltaModule>, provenance: Provenance) -> Result<Self> {
        canonical_order(&Positions::new(shape), &mut modules)?;
        let id = digest(shape, &modules);
        let format = STRUCTURE_FORMAT.into();
        Ok(Self { format, id, shape: shape.clone(), modules, provenance: vec![provenance], serving: None })
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
            let within = |value: f64| (0.0..=1.0).contains(&value);
            if !within(entry.p) || !entry.deviation.is_none_or(within) || entry.parameters != parameters {
                return Err(Error::Document(format!(
                    "the probability of {} at `{}` and its deviation must lie in 0..1 and its parameters be {parameters}, \
                     not p {} and {} parameters",
                    entry.module.kind.name().as_str(),
                    entry.module.position,
                    entry.p,
                    entry.parameters
                )));
            }
        }
        for provenance in &self.provenance {
            provenance.check_each_once()?;
            provenance.check_logits()?;
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

    /// Adds the provenances of `other`, the same structure found again; one that differs in its time alone is no other.
    pub fn merge(&mut self, other: Structure) {
        for provenance in other.provenance {
            let same = |known: &Provenance| Provenance { created: provenance.created, ..known.clone() } == provenance;
            if !self.provenance.iter().any(same) {
                self.provenance.push(provenance);
            }
        }
    }

    /// The newest provenance that tells p of a space.
    pub fn searched(&self) -> Option<&Provenance> {
        let told = || self.provenance.iter().rev().filter(|provenance| !provenance.probabilities.is_empty());
        told().find(|provenance| provenance.parents.is_empty()).or_else(|| told().next())
    }

    /// The provenance of this moment that tells p; of several the search's own, and of several seeds' that of their mean p.
    pub fn searched_at(&self, created: Timestamp) -> Option<&Provenance> {
        let told = self.provenance.iter().filter(|one| one.created == created && !one.probabilities.is_empty());
        told.max_by_key(|one| (one.parents.is_empty(), one.seeds.len()))
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
    use crate::structure::{Kind, Origin};

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
}
