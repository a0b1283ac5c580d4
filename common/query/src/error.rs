//! DataFusion's errors to ours and back: the only place that does it.
//!
//! An error of ours may travel through a plan (a stale route found by the leaf);
//! it must come out with its kind, or the frontend could not retry.

use arrow_schema::ArrowError;
use datafusion::common::{DataFusionError, SchemaError};
use varve_model::{Error, ErrorKind, Reason};

#[cfg(test)]
mod tests;

/// Wraps our error for the way through a plan.
pub fn into_datafusion(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// What the user gets to see of a DataFusion error.
pub fn from_datafusion(error: DataFusionError) -> Error {
    let translated = translate(&error);
    match translated.kind() {
        ErrorKind::Internal => translated.with_source(error),
        _ => translated,
    }
}

fn translate(error: &DataFusionError) -> Error {
    match error {
        DataFusionError::External(inner) => external(&**inner),
        DataFusionError::ArrowError(inner, _) => arrow(inner),
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => translate(inner),
        DataFusionError::Shared(inner) => translate(inner),
        DataFusionError::Collection(errors) => {
            errors.first().map_or_else(|| Error::internal("an empty list of errors"), translate)
        }
        DataFusionError::SQL(inner, _) => Error::invalid(parser_text(&inner.to_string())).with_reason(Reason::Syntax),
        DataFusionError::NotImplemented(text) => Error::unsupported(text),
        DataFusionError::SchemaError(inner, _) => schema(inner),
        DataFusionError::Plan(text) => plan(text),
        DataFusionError::Execution(text) => Error::invalid(text).with_reason(Reason::BadValue),
        DataFusionError::ResourcesExhausted(text) => Error::busy(text),
        DataFusionError::Configuration(text) => Error::invalid(text).with_reason(Reason::BadValue),
        DataFusionError::ExecutionJoin(_) => Error::internal("a part of the query panicked"),
        other => Error::internal(other.strip_backtrace()),
    }
}

fn external(inner: &(dyn std::error::Error + Send + Sync + 'static)) -> Error {
    if let Some(ours) = inner.downcast_ref::<Error>() {
        return copy(ours);
    }
    if let Some(error) = inner.downcast_ref::<DataFusionError>() {
        return translate(error);
    }
    if let Some(error) = inner.downcast_ref::<ArrowError>() {
        return arrow(error);
    }
    Error::internal(inner.to_string())
}

/// An error of ours may be shared by several partitions, and is not `Clone`.
pub(crate) fn copy(error: &Error) -> Error {
    let mut same = Error::new(error.kind(), error.message()).with_reason(error.reason());
    if let Some(hint) = error.hint() {
        same = same.with_hint(hint);
    }
    let contexts = error.contexts().map(str::to_owned).collect::<Vec<_>>();
    contexts.into_iter().rev().fold(same, Error::context)
}

fn arrow(error: &ArrowError) -> Error {
    match error {
        ArrowError::ExternalError(inner) => external(&**inner),
        ArrowError::NotYetImplemented(text) => Error::unsupported(text),
        ArrowError::DivideByZero => Error::invalid("division by zero").with_reason(Reason::BadValue),
        ArrowError::CastError(text)
        | ArrowError::ParseError(text)
        | ArrowError::ComputeError(text)
        | ArrowError::ArithmeticOverflow(text)
        | ArrowError::InvalidArgumentError(text) => Error::invalid(text).with_reason(Reason::BadValue),
        other => Error::internal(other.to_string()),
    }
}

fn schema(error: &SchemaError) -> Error {
    let text = error.to_string();
    match error {
        SchemaError::FieldNotFound { field, .. } => {
            let known = text.split_once("Valid fields are ").map(|(_, fields)| fields.trim_end_matches('.').to_owned());
            let missing =
                Error::not_found(format!("column '{}' not found", field.flat_name())).with_reason(Reason::Column);
            known.map_or_else(|| copy(&missing), |known| copy(&missing).with_hint(format!("valid columns: {known}")))
        }
        _ => Error::invalid(text).with_reason(Reason::Column),
    }
}

fn plan(text: &str) -> Error {
    if let Some(rest) = text.strip_prefix("table '")
        && let Some(name) = rest.strip_suffix("' not found")
    {
        return Error::not_found(format!("table '{name}' not found")).with_reason(Reason::Table);
    }
    if text.starts_with("failed to resolve schema: ") {
        let name = text.trim_start_matches("failed to resolve schema: ");
        return Error::not_found(format!("database '{name}' not found")).with_reason(Reason::Database);
    }
    Error::invalid(without_blame(text)).with_reason(Reason::Plan)
}

/// DataFusion reports a call with wrong types as its own bug, in the midst of a text that says what fits.
/// The user made no bug report necessary: only the useful half stays.
fn without_blame(text: &str) -> &str {
    const BLAME: &str = "You might need to add explicit type casts.";
    if !text.starts_with("Internal error:") {
        return text;
    }
    text.split_once("filing a bug report in our issue tracker: ")
        .and_then(|(_, rest)| rest.split_once(". "))
        .map_or(text, |(_, useful)| useful.split_once(BLAME).map_or(useful, |(useful, _)| useful.trim_end()))
}

/// The parser's text without the name of its type.
fn parser_text(text: &str) -> String {
    text.trim_start_matches("sql parser error: ").to_owned()
}
