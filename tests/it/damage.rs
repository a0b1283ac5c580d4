//! One flipped bit in any persisted file is seen: refused at start or when read, never a wrong row or a panic.

use std::path::Path;

use varve::standalone::{Adapter, Standalone};

use crate::kit::{Varve, config, files};

/// Fills a folder with every kind of file: WAL, manifest, SST, sidecar, index, metadata.
async fn filled() -> tempfile::TempDir {
    let varve = Varve::start().await;
    let lines = (0..500).map(|n| format!("cpu,host=h{} a={n}i,b={}.5 {}\n", n % 9, n % 13, n + 1)).collect::<String>();
    varve.write("/write?db=public", lines).await;
    varve.run("ADMIN flush_table('cpu')").await;
    varve.write("/write?db=public", "cpu,host=h1 a=1000i,b=1 1000\n").await;
    varve.stop().await
}

/// Flips one bit, starts, reads all; true when the damage was reported or did no harm.
async fn is_seen_or_harmless(folder: &Path, file: &Path, at: usize) -> Result<(), String> {
    let whole = std::fs::read(file).expect("readable");
    let mut damaged = whole.clone();
    damaged[at] ^= 1 << (at % 8);
    std::fs::write(file, &damaged).expect("writable");
    let outcome = match Standalone::start(config(folder), Adapter::InProcess).await {
        Err(_) => Ok(()),
        Ok(node) => {
            let reply = reqwest::Client::new()
                .post(format!("http://{}/v1/sql", node.http))
                .header("content-type", "application/x-www-form-urlencoded")
                .body("sql=SELECT%20count(*),%20sum(a),%20sum(b)%20FROM%20cpu")
                .send()
                .await
                .expect("a reply");
            let status = reply.status().as_u16();
            let text = reply.text().await.expect("a body");
            node.stop().await;
            let right = text.contains("[501,125750,");
            if status != 200 || right { Ok(()) } else { Err(format!("{}: bit {at}: {status} {text}", file.display())) }
        }
    };
    std::fs::write(file, &whole).expect("writable");
    outcome
}

#[tokio::test]
async fn a_flipped_bit_never_gives_a_wrong_answer() {
    let original = filled().await;
    let mut wrong = Vec::new();
    for file in files(original.path()) {
        let copy = tempfile::tempdir().expect("a folder");
        let name = file.strip_prefix(original.path()).expect("inside").to_owned();
        let len = std::fs::metadata(&file).expect("there").len() as usize;
        if len == 0 || name.ends_with("lock") {
            continue;
        }
        for at in [len / 3, (len * 2) / 3] {
            copy_folder(original.path(), copy.path());
            if let Err(text) = is_seen_or_harmless(copy.path(), &copy.path().join(&name), at).await {
                wrong.push(text);
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn copy_folder(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).expect("inside"));
        std::fs::create_dir_all(target.parent().expect("a folder")).expect("created");
        std::fs::copy(&file, &target).expect("copied");
    }
}
