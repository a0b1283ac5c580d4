//! Blocks for tests of both logs.

use varve_model::id::{RegionEpoch, RegionId, SchemaVersion, Sequence, SeriesId};
use varve_model::series::SeriesKeys;

use super::EncodedBlock;
use crate::format::block::{Block, BlockBody, encode};

/// A block of rows without fields.
pub(crate) fn block(region: RegionId, first_seq: u64, rows: u64) -> Block {
    Block {
        region,
        epoch: RegionEpoch(1),
        schema_version: SchemaVersion(0),
        first_seq: Sequence(first_seq),
        tokens: Vec::new(),
        first_new_series: SeriesId(0),
        new_series: SeriesKeys::default(),
        body: BlockBody::Rows {
            series: vec![0; rows as usize],
            ts: (0..rows as i64).map(|row| row * 1_000_003 % 977).collect(),
            fields: Vec::new(),
        },
    }
}

/// What a log takes.
pub(crate) fn encoded(block: &Block) -> EncodedBlock {
    let mut bytes = Vec::new();
    encode(block, &mut bytes);
    EncodedBlock { region: block.region, first_seq: block.first_seq, rows: block.rows(), bytes }
}
