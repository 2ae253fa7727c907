use super::{MINUTE, NOW, approver, ask, crashed, folder, open};
use crate::{Decision, Happened, LiveApprovals, Positions, Settings, Store};

fn live(store: &Store) -> LiveApprovals {
    LiveApprovals::load(store, super::agents(), Settings { keep_events: true, ..Settings::default() }, &[]).unwrap()
}

#[tokio::test]
async fn what_every_channel_has_told_is_forgotten_and_how_far_each_is_survives() {
    let data = folder();
    let store = open(&data);
    let (live, positions) = (live(&store), Positions::load(&store).unwrap());
    assert_eq!((positions.newest().unwrap(), positions.of("a")), (0, None));
    for (at, arguments) in ["{}", "[1]", "[2]"].into_iter().enumerate() {
        let ticket = ask(&live, arguments, NOW).await.unwrap();
        if at == 0 {
            live.decide(ticket.id.as_str(), Decision::approve(), approver("ann", 3000), NOW + MINUTE).await.unwrap();
        }
    }
    positions.caught_up().await.unwrap();
    let told: Vec<Happened> = live.events(0, 10).unwrap().iter().map(|event| event.event).collect();
    assert_eq!(told, [Happened::Requested, Happened::Decided, Happened::Requested, Happened::Requested]);
    let seqs: Vec<u64> = live.events(0, 10).unwrap().iter().map(|event| event.seq).collect();
    // Each is somewhere from the start: what happened before is not for it.
    positions.advance("b", seqs[0]).await.unwrap();
    positions.advance("a", seqs[2]).await.unwrap();
    // Another start goes by what is on disk.
    let copy = crashed(&data);
    let after = Positions::load(&open(&copy)).unwrap();
    assert_eq!((after.of("a"), after.of("b")), (Some(seqs[2]), Some(seqs[0])));
    // Nobody goes back.
    positions.advance("a", seqs[0]).await.unwrap();
    assert_eq!(positions.of("a"), Some(seqs[2]));
    positions.advance("b", seqs[1]).await.unwrap();
    let left: Vec<u64> = live.events(0, 10).unwrap().iter().map(|event| event.seq).collect();
    assert_eq!(left, seqs[2..]);
    // A channel that is no more holds nothing back.
    positions.retain(|id| id == "a").await.unwrap();
    assert_eq!(positions.of("b"), None);
    positions.advance("a", seqs[3]).await.unwrap();
    assert!(live.events(0, 10).unwrap().is_empty());
    assert_eq!(positions.newest().unwrap(), seqs[3], "no place is given twice");
}
