//! Compaction: what to rewrite (`pick`, pure), how (`run`), and what has expired (`retention`).

pub mod pick;
pub mod retention;
pub mod run;
#[cfg(test)]
mod tests;

pub use pick::{Force, Now, Task, pick};
pub use run::{CompactionOutput, run};
