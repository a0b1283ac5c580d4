//! Bytes per point after flush and after the final merge.

use crate::Options;
use crate::load::{Target, load};
use crate::report::Table;
use varve_rig::process::{Folder, Server, binary};

/// Fields of a row.
const POINTS_PER_ROW: f64 = 10.0;

/// The report of `make bench-size`.
pub(crate) fn run(options: &Options) -> Result<String, String> {
    let folder = Folder::create("bench")?;
    let server = Server::start(&binary(env!("CARGO_BIN_EXE_varve")), folder.path(), &[])?;
    let loaded = load(&Target::standalone(&server), options)?;
    let points = loaded.rows as f64 * POINTS_PER_ROW;
    let mut client = server.client()?;
    let mut table = Table::new("size", options);
    table.row("points", points, "");
    client.sql("ADMIN flush_table('cpu')")?;
    let flushed = server.data_bytes();
    table.row("after_flush", flushed as f64 / points, "bytes per point, files and sidecars");
    client.sql("ADMIN compact_table('cpu')")?;
    let visible = client.sql("SELECT count(*) FROM cpu")?;
    if visible.as_u64() != Some(loaded.rows) {
        return Err(format!("{visible} of {} rows after the merge", loaded.rows));
    }
    // Files that left the manifest are kept for a grace period of minutes: what was added is the merge's output.
    let merged = server.data_bytes().saturating_sub(flushed) as f64;
    table.row("after_merge", merged / points, "bytes per point, files and sidecars");
    Ok(table.render())
}
