//! Arrow's IPC stream: batches as they are, compressed if asked for.

use arrow_ipc::CompressionType;
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow_schema::{ArrowError, Schema};
use varve_model::{Error, Reason, Result};

use super::encode::{Batch, Encoder};
use crate::output::column::Column;

/// How buffers are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Zstd,
    Lz4,
}

impl Compression {
    /// The compression of this name. Errors: `InvalidRequest/BadValue`.
    pub(super) fn of(name: Option<&str>) -> Result<Self> {
        match name.map(str::to_ascii_lowercase).as_deref() {
            None => Ok(Self::None),
            Some("zstd") => Ok(Self::Zstd),
            Some("lz4") => Ok(Self::Lz4),
            Some(other) => {
                Err(Error::invalid(format!("compression must be zstd or lz4, not '{other}'"))
                    .with_reason(Reason::BadValue))
            }
        }
    }
}

pub(super) struct Ipc {
    compression: Compression,
    writer: Option<StreamWriter<Vec<u8>>>,
}

impl Ipc {
    pub(super) fn new(compression: Compression) -> Self {
        Self { compression, writer: None }
    }

    fn start(&self, schema: &Schema) -> Result<StreamWriter<Vec<u8>>, ArrowError> {
        let compression = match self.compression {
            Compression::None => None,
            Compression::Zstd => Some(CompressionType::ZSTD),
            Compression::Lz4 => Some(CompressionType::LZ4_FRAME),
        };
        let options = IpcWriteOptions::default().try_with_compression(compression)?;
        StreamWriter::try_new_with_options(Vec::new(), schema, options)
    }
}

fn failed(error: ArrowError) -> Error {
    Error::internal("encode arrow stream").with_source(error)
}

impl Encoder for Ipc {
    fn rows_start(&mut self, out: &mut Vec<u8>, schema: &Schema, _: &[Column]) -> Result<()> {
        let mut writer = self.start(schema).map_err(failed)?;
        out.append(writer.get_mut());
        self.writer = Some(writer);
        Ok(())
    }

    fn batch(&mut self, out: &mut Vec<u8>, batch: &Batch<'_>) -> Result<()> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        writer.write(batch.raw).map_err(failed)?;
        out.append(writer.get_mut());
        Ok(())
    }

    fn rows_end(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let Some(mut writer) = self.writer.take() else { return Ok(()) };
        writer.finish().map_err(failed)?;
        out.append(writer.get_mut());
        Ok(())
    }

    fn count(&mut self, _: &mut Vec<u8>, _: u64) {}

    fn finish(&mut self, _: &mut Vec<u8>, _: u128) {}
}
