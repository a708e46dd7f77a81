//! Delta kinds: their names, hyper-parameters, where they may stand, and the tensors they train.
//!
//! The formulas live in `delta`; adding a kind touches this enum and one file there.

use super::{Error, PositionId, Positions, Result, Site};
use serde::{Deserialize, Serialize};
use utoipa::PartialSchema;

/// A delta kind with its hyper-parameters (method.md section 1).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// `(alpha / rank) · x A B` beside a linear map (Hu et al. 2021).
    Lora {
        /// Inner width r.
        rank: usize,
        /// LoRA's scaling numerator; not the search's structural parameters.
        alpha: f64,
    },
    /// A bias `b` after a linear map or a layer norm (Ben Zaken et al. 2021).
    Bitfit,
    /// `s ∘ x̂` beside a layer norm, x̂ being the normalised input.
    Lnfit,
    /// A bottleneck whose two maps are rank-`rank` products, after a module (Compacter's Adapter-LR).
    LowRankAdapter {
        /// Bottleneck width.
        bottleneck: usize,
        /// Rank of both maps.
        rank: usize,
    },
    /// A dense bottleneck after a module (Houlsby et al. 2019).
    Adapter {
        /// Bottleneck width.
        bottleneck: usize,
    },
    /// A dense bottleneck beside a module, fed by the module's input (He et al. 2021).
    ParallelAdapter {
        /// Bottleneck width.
        bottleneck: usize,
    },
}

/// A kind without its hyper-parameters, as users write it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
#[clap(rename_all = "snake_case")]
pub enum KindName {
    /// Low-rank update of a linear map.
    Lora,
    /// Scale of a layer norm.
    Lnfit,
    /// Bias.
    Bitfit,
    /// Bottleneck of low-rank maps.
    LowRankAdapter,
    /// Dense bottleneck, sequential.
    Adapter,
    /// Dense bottleneck, parallel.
    ParallelAdapter,
}

impl KindName {
    /// Every kind, in the order that breaks ties at one position.
    pub const ALL: [KindName; 6] =
        [Self::Lora, Self::Lnfit, Self::Bitfit, Self::LowRankAdapter, Self::Adapter, Self::ParallelAdapter];

    /// The word used in JSON, TOML and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            KindName::Lora => "lora",
            KindName::Lnfit => "lnfit",
            KindName::Bitfit => "bitfit",
            KindName::LowRankAdapter => "low_rank_adapter",
            KindName::Adapter => "adapter",
            KindName::ParallelAdapter => "parallel_adapter",
        }
    }

    /// Whether this is a bottleneck adapter, which the canonical order puts behind all else.
    pub fn is_bottleneck(self) -> bool {
        matches!(self, Self::LowRankAdapter | Self::Adapter | Self::ParallelAdapter)
    }

    /// The reference's hyper-parameters: LoRA r = 1, alpha = 16; low-rank adapter d/32, rank 1; adapters 24.
    pub fn with_defaults(self, d_model: usize) -> Kind {
        let bottleneck = 24.min(d_model);
        match self {
            KindName::Lora => Kind::Lora { rank: 1, alpha: 16.0 },
            KindName::Lnfit => Kind::Lnfit,
            KindName::Bitfit => Kind::Bitfit,
            KindName::LowRankAdapter => Kind::LowRankAdapter { bottleneck: (d_model / 32).max(1), rank: 1 },
            KindName::Adapter => Kind::Adapter { bottleneck },
            KindName::ParallelAdapter => Kind::ParallelAdapter { bottleneck },
        }
    }
}

/// How a tensor starts (method.md section 1).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// All zero.
    Zero,
    /// Uniform in (-bound, bound).
    Uniform(f32),
    /// Normal with this standard deviation.
    Normal(f32),
}

/// One trained tensor of a delta module.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorSpec {
    /// Name within the module, such as `a`; its stored name is `<position>.<kind>.<name>`.
    pub name: &'static str,
    /// Shape; a bias is `[d]`.
    pub shape: Vec<usize>,
    /// Initial values.
    pub init: Init,
    /// Whether Δ is linear in the tensors marked so, jointly: a gate on Δ is a gate on them.
    pub outer: bool,
}

impl TensorSpec {
    fn new(name: &'static str, shape: &[usize], init: Init, outer: bool) -> Self {
        Self { name, shape: shape.to_vec(), init, outer }
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the tensor holds no value; never, for valid hyper-parameters.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Kind {
    /// The kind without hyper-parameters.
    pub fn name(self) -> KindName {
        match self {
            Kind::Lora { .. } => KindName::Lora,
            Kind::Bitfit => KindName::Bitfit,
            Kind::Lnfit => KindName::Lnfit,
            Kind::LowRankAdapter { .. } => KindName::LowRankAdapter,
            Kind::Adapter { .. } => KindName::Adapter,
            Kind::ParallelAdapter { .. } => KindName::ParallelAdapter,
        }
    }

    /// Where the kind may stand, for messages.
    pub fn admits(self) -> &'static str {
        match self {
            Kind::Lora { .. } => "linear maps",
            Kind::Bitfit => "linear maps and layer norms",
            Kind::Lnfit => "layer norms",
            _ => "attention and feed-forward modules",
        }
    }

    /// Whether the kind may stand at such a site.
    pub fn admitted_at(self, site: Site) -> bool {
        match self {
            Kind::Lora { .. } => matches!(site, Site::Linear { .. }),
            Kind::Bitfit => matches!(site, Site::Linear { .. } | Site::Norm { .. }),
            Kind::Lnfit => matches!(site, Site::Norm { .. }),
            _ => matches!(site, Site::Module { .. }),
        }
    }

    /// The tensors that the kind trains at such a site, in storage order.
    pub fn tensors(self, site: Site) -> Vec<TensorSpec> {
        let d = site.d_out();
        let xavier = |rows: usize, columns: usize| Init::Uniform((2.0 * 6.0 / (rows + columns) as f32).sqrt());
        match self {
            Kind::Lora { rank, .. } => {
                let Site::Linear { d_in, d_out } = site else { return Vec::new() };
                let kaiming = Init::Uniform((d_in as f32).sqrt().recip());
                vec![
                    TensorSpec::new("a", &[d_in, rank], kaiming, false),
                    TensorSpec::new("b", &[rank, d_out], Init::Zero, true),
                ]
            }
            Kind::Bitfit => vec![TensorSpec::new("bias", &[d], Init::Zero, true)],
            Kind::Lnfit => vec![TensorSpec::new("scale", &[d], Init::Zero, true)],
            Kind::LowRankAdapter { bottleneck: k, rank: r } => vec![
                TensorSpec::new("down_left", &[d, r], xavier(d, r), false),
                TensorSpec::new("down_right", &[r, k], xavier(r, k), false),
                TensorSpec::new("down_bias", &[k], Init::Zero, false),
                TensorSpec::new("up_left", &[k, r], xavier(k, r), false),
                TensorSpec::new("up_right", &[r, d], xavier(r, d), true),
                TensorSpec::new("up_bias", &[d], Init::Zero, true),
            ],
            Kind::Adapter { bottleneck: k } | Kind::ParallelAdapter { bottleneck: k } => vec![
                TensorSpec::new("down", &[d, k], Init::Normal(0.01), false),
                TensorSpec::new("down_bias", &[k], Init::Zero, false),
                TensorSpec::new("up", &[k, d], Init::Normal(0.01), true),
                TensorSpec::new("up_bias", &[d], Init::Zero, true),
            ],
        }
    }

    /// Number of trained values at such a site.
    pub fn parameters(self, site: Site) -> usize {
        self.tensors(site).iter().map(TensorSpec::len).sum()
    }
}

/// A delta kind at a position. In JSON: `{"position": "…", "kind": "lora", "rank": 1, "alpha": 16}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "ModuleRecord", into = "ModuleRecord")]
pub struct DeltaModule {
    /// Hugging Face path of the place.
    pub position: String,
    /// Kind and hyper-parameters.
    pub kind: Kind,
}

impl DeltaModule {
    /// A module; validate it against a backbone with [`DeltaModule::check`].
    pub fn new(position: impl Into<String>, kind: Kind) -> Self {
        Self { position: position.into(), kind }
    }

    /// Checks position, kind and hyper-parameters against a backbone.
    pub fn check(&self, positions: &Positions) -> Result<PositionId> {
        let id = positions.id(&self.position)?;
        let site = positions.site(id);
        if !self.kind.admitted_at(site) {
            return Err(Error::NotAdmitted {
                kind: self.kind.name().as_str(),
                position: self.position.clone(),
                site: site.name(),
                admits: self.kind.admits(),
            });
        }
        let wrong = |what: String| Err(Error::HyperParameter { what, position: self.position.clone() });
        let limit = |name: &str, value: usize, most: usize, of: &str| match value {
            0 => wrong(format!("{name} 0 trains nothing: give at least 1")),
            value if value > most => wrong(format!("{name} {value} exceeds {of} {most}")),
            _ => Ok(()),
        };
        match (self.kind, site) {
            (Kind::Lora { alpha, .. }, _) if !(alpha != 0.0 && alpha.abs() <= 1e6) => {
                wrong(format!("alpha {alpha} must lie between -1e6 and 1e6 and not be 0"))?;
            }
            (Kind::Lora { rank, .. }, Site::Linear { d_in, d_out }) => {
                limit("rank", rank, d_in.min(d_out), "the map's smaller width")?;
            }
            (Kind::LowRankAdapter { bottleneck, rank }, site) => {
                limit("bottleneck", bottleneck, site.d_out(), "d_model")?;
                limit("rank", rank, bottleneck, "the bottleneck")?;
            }
            (Kind::Adapter { bottleneck } | Kind::ParallelAdapter { bottleneck }, site) => {
                limit("bottleneck", bottleneck, site.d_out(), "d_model")?;
            }
            _ => {}
        }
        Ok(id)
    }

    /// The stored name of one of its tensors: `<position>.<kind>.<tensor>`.
    pub fn tensor_name(&self, tensor: &TensorSpec) -> String {
        format!("{}.{}.{}", self.position, self.kind.name().as_str(), tensor.name)
    }

    /// What identifies the module: kind and hyper-parameters at its position, as one line of text.
    pub fn signature(&self) -> String {
        serde_json::to_string(&ModuleRecord::from(self.clone())).expect("plain data serialises")
    }
}

/// The JSON form of a delta module; fields that a kind does not have are refused.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct ModuleRecord {
    /// Hugging Face path of the place.
    position: String,
    /// The kind.
    kind: KindName,
    /// LoRA's or the low-rank adapter's rank (default 1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rank: Option<usize>,
    /// LoRA's scaling numerator (default 16).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alpha: Option<f64>,
    /// The adapters' inner width.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bottleneck: Option<usize>,
}

impl PartialSchema for DeltaModule {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        ModuleRecord::schema()
    }
}

impl utoipa::ToSchema for DeltaModule {
    fn schemas(schemas: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::schema::Schema>)>) {
        schemas.push((KindName::name().into(), KindName::schema()));
    }
}

impl TryFrom<ModuleRecord> for DeltaModule {
    type Error = Error;

    fn try_from(record: ModuleRecord) -> Result<Self> {
        let ModuleRecord { position, kind, rank, alpha, bottleneck } = record;
        let refuse = |name: &str| {
            let what = format!("{} has no `{name}`: leave it out", kind.as_str());
            Err(Error::HyperParameter { what, position: position.clone() })
        };
        if alpha.is_some() && kind != KindName::Lora {
            return refuse("alpha");
        }
        if rank.is_some() && !matches!(kind, KindName::Lora | KindName::LowRankAdapter) {
            return refuse("rank");
        }
        if bottleneck.is_some() && !kind.is_bottleneck() {
            return refuse("bottleneck");
        }
        let needed = || {
            bottleneck.ok_or_else(|| Error::HyperParameter {
                what: format!("{} needs `bottleneck`", kind.as_str()),
                position: position.clone(),
            })
        };
        let kind = match kind {
            KindName::Lora => Kind::Lora { rank: rank.unwrap_or(1), alpha: alpha.unwrap_or(16.0) },
            KindName::Lnfit => Kind::Lnfit,
            KindName::Bitfit => Kind::Bitfit,
            KindName::LowRankAdapter => Kind::LowRankAdapter { bottleneck: needed()?, rank: rank.unwrap_or(1) },
            KindName::Adapter => Kind::Adapter { bottleneck: needed()? },
            KindName::ParallelAdapter => Kind::ParallelAdapter { bottleneck: needed()? },
        };
        Ok(DeltaModule { position, kind })
    }
}

impl From<DeltaModule> for ModuleRecord {
    fn from(module: DeltaModule) -> Self {
        let (rank, alpha, bottleneck) = match module.kind {
            Kind::Lora { rank, alpha } => (Some(rank), Some(alpha), None),
            Kind::Bitfit | Kind::Lnfit => (None, None, None),
            Kind::LowRankAdapter { bottleneck, rank } => (Some(rank), None, Some(bottleneck)),
            Kind::Adapter { bottleneck } | Kind::ParallelAdapter { bottleneck } => (None, None, Some(bottleneck)),
        };
        ModuleRecord { position: module.position, kind: module.kind.name(), rank, alpha, bottleneck }
    }
}
