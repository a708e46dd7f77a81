//! One file per subcommand.

pub mod pretrain;
