use proptest::prelude::*;
use varve_model::Reason;
use varve_model::id::NodeId;

use super::*;

fn place(number: usize, tasks: usize) -> Place {
    let peers = (0..tasks).map(|node| Peer { node: NodeId(node as u64), address: format!("127.0.0.1:{node}") });
    Place { task: Task { query: u128::MAX, stage: 3, number }, tasks, peers: peers.collect(), time_zone: "UTC".into() }
}

fn read(partition: usize) -> Read {
    Read { task: Task { query: 1, stage: 2, number: 3 }, partition, spreads: true }
}

#[test]
fn another_version_is_refused_with_a_way_out() {
    let mut bytes = Ticket::Read(read(1), Bytes::new()).encode().unwrap().to_vec();
    bytes[4] += 1;
    let error = Ticket::decode(&bytes.into()).unwrap_err();
    assert_eq!(error.reason(), Reason::Unsupported);
    assert!(error.hint().is_some());
}

#[test]
fn a_task_outside_of_its_stage_is_refused() {
    for wrong in [place(3, 3), Place { tasks: 4, ..place(0, 3) }, Place { tasks: usize::MAX, ..place(0, 3) }] {
        let bytes = Ticket::Place(wrong, Bytes::new()).encode().unwrap();
        Ticket::decode(&bytes).unwrap_err();
    }
    let bytes = Ticket::Read(read(usize::MAX), Bytes::new()).encode().unwrap();
    Ticket::decode(&bytes).unwrap_err();
}

proptest! {
    #[test]
    fn tickets_come_back(number in 0..4usize, more in 1..4usize, partition in 0..COUNT_MAX, body in any::<Vec<u8>>()) {
        let body = Bytes::from(body);
        for ticket in [Ticket::Place(place(number, number + more), body.clone()), Ticket::Read(read(partition), body)] {
            prop_assert_eq!(&Ticket::decode(&ticket.encode().unwrap()).unwrap(), &ticket);
        }
    }

    #[test]
    fn hostile_bytes_are_refused(mut bytes in any::<Vec<u8>>(), kind in 0..4u8, length in any::<u32>()) {
        drop(Ticket::decode(&bytes.clone().into()));
        let mut head = [&MAGIC[..], &EXCHANGE_VERSION.to_le_bytes(), &[kind], &length.to_le_bytes()].concat();
        head.append(&mut bytes);
        prop_assert!(Ticket::decode(&head.into()).is_err());
    }

    #[test]
    fn a_damaged_ticket_never_panics(at in 0..200usize, with in any::<u8>()) {
        let mut bytes = Ticket::Place(place(1, 2), Bytes::from_static(b"plan")).encode().unwrap().to_vec();
        let at = at % bytes.len();
        bytes[at] = with;
        drop(Ticket::decode(&bytes.into()));
    }
}
