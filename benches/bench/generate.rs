//! The cpu-only use case of TSBS: 10 tags, 10 integer fields, one row per host
//! and 10 s, values a clamped Gaussian walk. The same seed gives the same bytes.

use std::io::Write as _;

/// First timestamp: 2016-01-01T00:00:00Z, in ns.
const START_NANOS: i64 = 1_451_606_400_000_000_000;
/// Distance of rows of a host, in ns.
const STEP_NANOS: i64 = 10_000_000_000;
/// Rows of one host per hour.
pub(crate) const ROWS_PER_HOUR: u64 = 360;

const REGIONS: [&str; 9] = [
    "us-east-1",
    "us-west-1",
    "us-west-2",
    "eu-west-1",
    "eu-central-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-northeast-1",
    "sa-east-1",
];
const OSES: [&str; 3] = ["Ubuntu16.10", "Ubuntu16.04LTS", "Ubuntu15.10"];
const ARCHES: [&str; 2] = ["x64", "x86"];
const TEAMS: [&str; 4] = ["SF", "NYC", "LON", "CHI"];
const ENVIRONMENTS: [&str; 3] = ["production", "staging", "test"];
const FIELDS: [&str; 10] = [
    "usage_user",
    "usage_system",
    "usage_idle",
    "usage_nice",
    "usage_iowait",
    "usage_irq",
    "usage_softirq",
    "usage_steal",
    "usage_guest",
    "usage_guest_nice",
];

/// splitmix64.
#[derive(Clone, Debug)]
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[(self.next() % choices.len() as u64) as usize]
    }

    /// Standard normal by Box and Muller.
    fn normal(&mut self) -> f64 {
        let (u, v) = (1.0 - self.uniform(), self.uniform());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }
}

/// One host: its constant prefix and its walking values.
#[derive(Debug)]
struct Host {
    prefix: String,
    values: [f64; 10],
    rng: Rng,
}

impl Host {
    fn new(number: u64, seed: u64) -> Self {
        let mut rng = Rng(seed ^ number.wrapping_mul(0xd6e8_feb8_6659_fd93));
        let region = rng.pick(&REGIONS);
        let zone = ["a", "b", "c"][(rng.next() % 3) as usize];
        let prefix = format!(
            "cpu,hostname=host_{number},region={region},datacenter={region}{zone},rack={},os={},arch={},team={},service={},service_version={},service_environment={}",
            rng.next() % 100,
            rng.pick(&OSES),
            rng.pick(&ARCHES),
            rng.pick(&TEAMS),
            rng.next() % 20,
            rng.next() % 2,
            rng.pick(&ENVIRONMENTS),
        );
        let values = std::array::from_fn(|_| rng.uniform() * 100.0);
        Self { prefix, values, rng }
    }

    fn write(&mut self, ts: i64, body: &mut Vec<u8>) {
        body.extend_from_slice(self.prefix.as_bytes());
        for (at, (name, value)) in FIELDS.iter().zip(&mut self.values).enumerate() {
            *value = (*value + self.rng.normal()).clamp(0.0, 100.0);
            body.push(if at == 0 { b' ' } else { b',' });
            body.extend_from_slice(name.as_bytes());
            write!(body, "={}i", *value as i64).expect("a Vec takes all");
        }
        writeln!(body, " {ts}").expect("a Vec takes all");
    }
}

/// Bodies of `batch` lines each, in time order, all hosts per timestamp.
pub(crate) fn bodies(hosts: u64, hours: u64, batch: usize, seed: u64) -> impl Iterator<Item = (Vec<u8>, usize)> {
    let mut fleet: Vec<Host> = (0..hosts).map(|number| Host::new(number, seed)).collect();
    let steps = hours * ROWS_PER_HOUR;
    let mut at = (0u64, 0usize);
    std::iter::from_fn(move || {
        let mut body = Vec::with_capacity(batch * 360);
        let mut rows = 0;
        while rows < batch && at.0 < steps {
            fleet[at.1].write(START_NANOS + at.0 as i64 * STEP_NANOS, &mut body);
            rows += 1;
            at.1 += 1;
            if at.1 == fleet.len() {
                at = (at.0 + 1, 0);
            }
        }
        (rows > 0).then_some((body, rows))
    })
}
