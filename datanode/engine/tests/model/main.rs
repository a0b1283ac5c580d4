//! The protocols of durability.md as models that are explored to the last state.
//!
//! A model names what the code promises (invariants I1 to I13) and every step
//! that processes, network and store can take in any order. Each model is also
//! run with one rule of the protocol taken out at a time: a model that does not
//! notice that proves nothing. Reading time: docs/models.md.
//!
//! `VARVE_MODEL=full` takes the larger bounds.

use std::time::Instant;

use stateright::{Checker, Expectation, HasDiscoveries, Model};

mod files;
mod lease;
mod local;
mod log;
mod references;

/// Which bounds to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bounds {
    /// Of every test run.
    Small,
    /// Of `make models`.
    Full,
}

/// The bounds that the environment asks for.
pub(crate) fn bounds() -> Bounds {
    match std::env::var("VARVE_MODEL").as_deref() {
        Ok("full") => Bounds::Full,
        _ => Bounds::Small,
    }
}

fn explore<M>(model: M) -> (impl Checker<M>, f64)
where
    M: Model + Clone + Send + Sync + 'static,
    M::State: Clone + std::fmt::Debug + std::hash::Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + std::fmt::Debug + PartialEq + Send + Sync + 'static,
{
    #[expect(clippy::disallowed_methods, reason = "what a run takes is reported, and decides nothing")]
    let start = Instant::now();
    let checker = model.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    (checker, start.elapsed().as_secs_f64())
}

/// Explores all states: no invariant may break, and everything that shall happen sometimes must happen.
pub(crate) fn holds<M>(name: &str, model: M)
where
    M: Model + Clone + Send + Sync + 'static,
    M::State: Clone + std::fmt::Debug + std::hash::Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + std::fmt::Debug + PartialEq + Send + Sync + 'static,
{
    let properties = model.properties();
    let (checker, seconds) = explore(model);
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    for property in properties {
        let found = checker.discovery(property.name);
        match (property.expectation, found) {
            (Expectation::Always, Some(path)) => {
                let last = format!("{:#?}", path.last_state());
                let actions = path.into_actions();
                panic!("{name}: \"{}\" breaks after {actions:#?}\n{last}", property.name)
            }
            (Expectation::Sometimes, None) => panic!("{name}: \"{}\" never happens: the model is blind", property.name),
            _ => {}
        }
    }
    eprintln!("model {name}: {states} states, depth {depth}, {seconds:.1} s, no violation");
}

/// Explores until an invariant breaks, as one must.
pub(crate) fn breaks<M>(name: &str, model: M)
where
    M: Model + Clone + Send + Sync + 'static,
    M::State: Clone + std::fmt::Debug + std::hash::Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + std::fmt::Debug + PartialEq + Send + Sync + 'static,
{
    let always = model.properties().into_iter().filter(|property| property.expectation == Expectation::Always);
    let always = always.map(|property| property.name).collect::<Vec<_>>();
    let (checker, seconds) = explore(model);
    let states = checker.unique_state_count();
    let Some((broken, path)) = always.iter().find_map(|name| Some((*name, checker.discovery(name)?))) else {
        panic!("{name}: not noticed in {states} states");
    };
    let actions = path.into_actions();
    eprintln!("model {name}: caught by \"{broken}\" after {states} states, {} steps, {seconds:.1} s", actions.len());
    if std::env::var_os("VARVE_MODEL_PATHS").is_some() {
        eprintln!("{actions:#?}");
    }
}
