//! `--faults` and `--fault` of the commands that simulate venues.

use std::path::Path;

use super::Failure;
use crate::sim::{FaultPlan, SimError};

/// What every mistake in a fault on the command line begins with.
const FLAG: &str = "--fault ";

/// The plan of a file and of lines.
pub(crate) fn plan(file: Option<&Path>, lines: &[String]) -> Result<FaultPlan, Failure> {
    let mut plan = file.map_or_else(|| Ok(FaultPlan::default()), FaultPlan::read).map_err(failure)?;
    lines.iter().try_for_each(|line| plan.add(line)).map_err(failure)?;
    Ok(plan)
}

/// What is wrong on the command line is wrong usage, what is wrong in a file is wrong configuration.
pub(crate) fn failure(error: SimError) -> Failure {
    match &error {
        SimError::Plan { place, .. } if place.starts_with(FLAG) => Failure::usage(error),
        SimError::Exchange { .. } | SimError::Symbol { .. } | SimError::Setting { .. } => Failure::usage(error),
        SimError::Plan { .. } => Failure::config(error),
        _ => Failure::failed(error),
    }
}
