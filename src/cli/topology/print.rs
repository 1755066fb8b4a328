//! Plans for people.

use std::fmt::Write as _;

use crate::topology::change::Effect;
use crate::topology::plan::{Action, Plan, Step};

/// A whole plan: steps, conflicts, notes, and a line that sums it up.
pub(super) fn plan(plan: &Plan) -> String {
    let mut out = String::new();
    for step in &plan.steps {
        write_step(step, &mut out);
    }
    for conflict in &plan.conflicts {
        let _ = writeln!(out, "! conflict: {conflict}");
    }
    for lacking in &plan.lacking {
        let _ = writeln!(out, "! too old: {lacking}");
    }
    for note in &plan.notes {
        let _ = writeln!(out, "note: {note}");
    }
    let count = |action| plan.steps.iter().filter(|step| step.action == action).count();
    let (new, changed, gone) = (count(Action::Create), count(Action::Change), count(Action::Delete));
    if plan.is_as_declared() {
        let _ = writeln!(out, "as declared: nothing to do for {}", things(plan.unchanged));
    } else {
        let _ = writeln!(
            out,
            "{new} to create, {changed} to change, {gone} to delete, {} as declared{}",
            plan.unchanged,
            cost(plan)
        );
    }
    out
}

/// `1 thing`, `2 things`.
pub(super) fn things(count: usize) -> String {
    format!("{count} thing{}", if count == 1 { "" } else { "s" })
}

/// One line: the action and what it is done to.
pub(super) fn title(step: &Step) -> String {
    let sign = match step.action {
        Action::Create => '+',
        Action::Change => '~',
        Action::Delete => '-',
    };
    format!("{sign} {}", step.object)
}

fn write_step(step: &Step, out: &mut String) {
    let note = if step.note.is_empty() { String::new() } else { format!("  (destructive: {})", step.note) };
    let _ = writeln!(out, "{}{note}", title(step));
    for change in &step.changes {
        if step.action == Action::Create {
            let note = if change.note.is_empty() { String::new() } else { format!("  ({})", change.note) };
            let _ = writeln!(out, "    {}: {}{note}", change.key, change.to);
        } else {
            let _ = writeln!(out, "    {change}");
        }
    }
}

/// Whether something would be made without what it could never have later.
pub(super) fn never(plan: &Plan) -> bool {
    plan.steps.iter().any(|step| step.action == Action::Create && step.effect == Effect::Impossible)
}

fn cost(plan: &Plan) -> &'static str {
    match plan.effect() {
        _ if !plan.conflicts.is_empty() => "; conflicts stand in the way",
        _ if plan.is_done() => "; the server is too old for the rest",
        Effect::Harmless => "",
        Effect::Destructive => "; needs --allow-destructive",
        Effect::Impossible if never(plan) => "; the server is too old for some of it",
        Effect::Impossible => "; not all of it can be done in place",
    }
}
