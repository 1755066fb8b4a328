//! `topology apply`: makes a server have what is declared.

use super::super::{Failure, block_on, say};
use super::{Files, Target, planned, print};
use crate::topology::change::Effect;
use crate::topology::plan::Plan;
use crate::topology::remote;

/// What `topology apply` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Nothing is done at all while subjects conflict, while a change is one that the server never makes, while it is too old \
for what a stream has from its beginning or never, or while a change is destructive and --allow-destructive is not \
given. Then steps are done one after the other; the first that the server refuses ends it, and applying again goes on \
from there. Where the server is too old for something else, all but that is done, and the exit code is 1. What is on \
the server and not declared is left alone; `absent = true` in a file deletes.

Rights: those of the work `admin`.")]
pub(super) struct Args {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    target: Target,
    /// Delete what is declared absent, and make changes that remove what is stored.
    #[arg(long)]
    allow_destructive: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let declared = args.files.load()?;
    block_on(async {
        let client = args.target.dial().await?;
        let plan = planned(&client, &declared).await?;
        allowed(&plan, args.allow_destructive)?;
        for note in plan.lacking.iter().chain(&plan.notes) {
            say(&format!("note: {note}\n"))?;
        }
        for (done, step) in plan.steps.iter().enumerate() {
            remote::apply(&client, step).await.map_err(|error| {
                let rest = plan.steps.len() - done;
                let are = if rest == 1 { "is" } else { "are" };
                Failure::failed(format!(
                    "{}: {error}\n{done} of {} steps were done, {} {are} left: apply again once this is mended",
                    step.object,
                    plan.steps.len(),
                    rest
                ))
            })?;
            say(&format!("{}\n", print::title(step)))?;
        }
        let after = planned(&client, &declared).await?;
        if !after.is_done() {
            // The server took it and has something else: it is older, or somebody changes it at the same time.
            let text = print::plan(&after);
            return Err(Failure::failed(format!("the server took every step and still differs:\n{text}")));
        }
        if !after.lacking.is_empty() {
            let done = plan.steps.len();
            let text = format!("{done} done; the server is too old for the rest, which the notes above name");
            return Err(Failure::failed(text));
        }
        say(&format!("{} done, {} as declared\n", plan.steps.len(), print::things(after.unchanged)))
    })
}

/// Whether the plan may be applied at all.
fn allowed(plan: &Plan, allow_destructive: bool) -> Result<(), Failure> {
    let refuse = |why: &str| {
        say(&print::plan(plan))?;
        Err(Failure::failed(format!("{why}; nothing was done")))
    };
    if !plan.conflicts.is_empty() {
        return refuse("subjects conflict");
    }
    match plan.effect() {
        Effect::Impossible if print::never(plan) => refuse(
            "the server is too old for what a stream has from its beginning or never: take a newer nats-server, or leave it \
             out of the file",
        ),
        Effect::Impossible => refuse("the server does not make these changes in place"),
        Effect::Destructive if !allow_destructive => {
            refuse("this removes what is stored, or lessens what is kept: --allow-destructive says that it is meant")
        }
        _ => Ok(()),
    }
}
