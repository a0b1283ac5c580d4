//! Rows on their way in: resolve names to columns, split by region, dispatch to the owners.
//!
//! Every stage has its type: `Rows` -> [`ResolvedRows`] -> `RegionBatch` -> `WriteRequest`.

mod assemble;
mod conflict;
mod cut;
mod dispatch;
mod narrow;
mod resolve;
mod split;
#[cfg(test)]
mod tests;
mod token;

use std::sync::Arc;

use varve_model::batch::FieldColumn;
use varve_model::id::Token;
use varve_model::series::SeriesKeys;

use crate::cluster::Table;

pub(crate) use assemble::{Assembly, assemble, vector_of_array, vector_of_values};
pub(crate) use dispatch::Dispatch;
pub(crate) use resolve::Resolver;
pub(crate) use split::split;
pub(crate) use token::statement_key;

/// Rows of one table whose columns all exist.
#[derive(Clone, Debug)]
pub(crate) struct ResolvedRows {
    /// The table they were resolved against.
    pub(crate) table: Arc<Table>,
    /// Registry keys of the distinct series.
    pub(crate) keys: SeriesKeys,
    /// Per row: a slot of `keys`.
    pub(crate) series: Vec<u32>,
    /// Per row: the timestamp in the table's unit.
    pub(crate) ts: Vec<i64>,
    /// Sorted by column id.
    pub(crate) fields: Vec<FieldColumn>,
    /// The token of the chunk they came from.
    pub(crate) token: Option<Token>,
}
