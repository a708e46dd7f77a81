//! Why a run ended without a result.

/// The result of training and evaluation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a run ended without a result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The task's rows cannot be used with this backbone.
    #[error("task `{task}`: {what}")]
    Task {
        /// The task.
        task: String,
        /// What is wrong.
        what: String,
    },
    /// The backbone refused the input.
    #[error(transparent)]
    Backbone(#[from] crate::t5::Error),
    /// The structure does not fit the backbone.
    #[error(transparent)]
    Structure(#[from] crate::structure::Error),
    /// The task's scores could not be computed.
    #[error(transparent)]
    Score(#[from] crate::task::Error),
    /// A setting that cannot work.
    #[error("{0}")]
    Setting(String),
    /// The loss is no longer a number.
    #[error("the loss became {loss} at step {step}: lower the learning rate (now {rate})")]
    Diverged {
        /// The loss.
        loss: f64,
        /// The step.
        step: usize,
        /// The learning rate.
        rate: f64,
    },
    /// The structural parameters' gradient is no longer a number.
    #[error(
        "the gradient of the structural parameters is not a number at step {step}: lower their learning rate (now {rate}) or the \
         penalty of the L0 control"
    )]
    DivergedStructure {
        /// The step.
        step: usize,
        /// The learning rate of the structural parameters.
        rate: f64,
    },
    /// A checkpoint that is not of this run.
    #[error("the checkpoint cannot be used: {0}")]
    Checkpoint(String),
    /// The observer stopped the run: after this step, or at 0 before the first one or in an evaluation.
    #[error("stopped at step {0}")]
    Stopped(usize),
}
