//! `s3delta tokens`: who may call a server. It works on HOME/tokens.json, which a server reads when it starts.

use super::output;
use crate::api::{Scope, Token, Tokens as Stored};
use anyhow::{Context, Result, bail};
use std::path::Path;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Tokens {
    /// Make a token and print it, this once.
    #[command(after_help = "Example:\n  s3delta tokens create ci --scope read --scope infer")]
    Create {
        /// A name to know it by.
        name: String,
        /// What it may do; may be given several times.
        #[arg(long, value_enum, required = true)]
        scope: Vec<Scope>,
    },
    /// Names and scopes.
    List,
    /// Remove a token.
    Revoke {
        /// Its name.
        name: String,
    },
}

impl Tokens {
    pub(crate) fn run(&self, home: &Path) -> Result<()> {
        std::fs::create_dir_all(home).with_context(|| format!("cannot make the folder `{}`", home.display()))?;
        let mut tokens = Stored::open(home)?;
        match self {
            Self::Create { name, scope } => {
                if tokens.list().iter().any(|token| token.name == *name) {
                    bail!("there is a token `{name}` already: revoke it, or choose another name");
                }
                output::line(tokens.create(name, scope.iter().copied().collect())?);
                eprintln!("a running server knows it after a restart");
            }
            Self::List => {
                let line = |token: &Token| {
                    let scopes: Vec<_> = token.scopes.iter().map(|scope| scope.as_str()).collect();
                    vec![token.name.clone(), scopes.join(","), token.created.to_string()]
                };
                output::table(&["name", "scopes", "created"], &tokens.list().iter().map(line).collect::<Vec<_>>());
            }
            Self::Revoke { name } => {
                if !tokens.revoke(name)? {
                    bail!("there is no token `{name}`");
                }
            }
        }
        Ok(())
    }
}
