//! Judges from outside, where Python has them: client packages and Parquet readers.

use tokio::process::Command;

use crate::kit::{Door, Varve, have};

/// Runs a Python program with arguments, by the interpreter that `make test` names for its client packages; `None`
/// when a module is absent.
pub(crate) async fn python(module: &str, program: &str, args: &[String]) -> Option<String> {
    let interpreter = std::env::var("VARVE_PYTHON").ok().filter(|path| !path.is_empty());
    let interpreter = interpreter.unwrap_or_else(|| "python3".to_owned());
    let found = Command::new(&interpreter).args(["-c", &format!("import {module}")]).output().await;
    if !have(module, found.is_ok_and(|output| output.status.success())) {
        return None;
    }
    let output = Command::new(&interpreter).arg("-c").arg(program).args(args).output().await.expect("python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[tokio::test]
async fn duckdb_and_pyarrow_read_the_files_as_one_table() {
    let varve = Varve::start().await;
    varve.write("/write?db=public", "cpu,host=a usage=1.5,n=1i 1\ncpu,host=b usage=2.5 2\n").await;
    varve.run("ADMIN flush_table('cpu')").await;
    varve.write("/write?db=public", "cpu,host=a,dc=x usage=3.5,ok=true 3\n").await;
    varve.run("ADMIN flush_table('cpu')").await;
    let glob = varve.folder().join("bucket/r/*/*/d/*.parquet").to_string_lossy().into_owned();
    let duck = "import duckdb, sys; print(duckdb.sql(f\"select count(*), sum(usage), count(dc) from read_parquet('{sys.argv[1]}', union_by_name=true)\").fetchall()[0])";
    if let Some(answer) = python("duckdb", duck, std::slice::from_ref(&glob)).await {
        assert_eq!(answer, "(3, 7.5, 1)");
    }
    let arrow = "import glob, sys, pyarrow.parquet as p\nt=[p.read_table(f) for f in glob.glob(sys.argv[1])]\nprint(sum(x.num_rows for x in t), sum(sum(x['usage'].to_pylist()) for x in t))";
    if let Some(answer) = python("pyarrow.parquet", arrow, &[glob]).await {
        assert_eq!(answer, "3 7.5");
    }
    varve.stop().await;
}

#[tokio::test]
async fn the_python_influx_packages_write_as_they_are() {
    let varve = Varve::start().await;
    influx_packages(&varve).await;
    varve.stop().await;
}

/// The packages `influxdb` and `influxdb-client`.
pub(crate) async fn influx_packages(door: &Door) {
    let addr = door.addr.to_string();
    let v1 = "import sys\nfrom influxdb import InfluxDBClient\nh,p=sys.argv[1].split(':')\nc=InfluxDBClient(h,int(p))\nc.create_database('py')\nc.switch_database('py')\nassert c.write_points([{'measurement':'m','tags':{'host':'a'},'time':1,'fields':{'v':1.5}}])\nprint([d['name'] for d in c.get_list_database()])";
    if let Some(answer) = python("influxdb", v1, std::slice::from_ref(&addr)).await {
        assert!(answer.contains("'py'"), "{answer}");
        let (_, reply) = door.sql_in("py", "SELECT v FROM m").await;
        assert_eq!(reply["output"][0]["records"]["rows"][0][0], 1.5, "{reply}");
    }
    let v2 = "import sys\nfrom influxdb_client import InfluxDBClient, Point\nfrom influxdb_client.client.write_api import SYNCHRONOUS\nc=InfluxDBClient(url='http://'+sys.argv[1], token='t', org='o')\nc.write_api(write_options=SYNCHRONOUS).write(bucket='public', record=Point('m2').tag('host','a').field('v',2).time(5))\nprint(c.ping(), c.ready().status)";
    if let Some(answer) = python("influxdb_client", v2, &[addr]).await {
        assert_eq!(answer, "True ready");
        assert_eq!(door.rows("SELECT v FROM m2").await[0][0], 2);
    }
}
