//! The lease as one instance sees it, through all that can come of its steps.

use super::*;

const TERM: Duration = Duration::from_millis(900);

fn lease() -> (Lease, Instant) {
    let now = clock::now();
    (Lease::new("me".to_owned(), TERM, now), now)
}

fn entry(revision: u64, holder: &str) -> Done {
    Done::Read(Some(Entry { revision, holder: holder.to_owned() }))
}

#[test]
fn the_first_one_makes_it_and_renews_it() {
    let (mut lease, now) = lease();
    assert_eq!(lease.next(now).0, Op::Read);
    lease.done(now, now, &Done::Read(None));
    assert_eq!(lease.next(now), (Op::Create, now));
    lease.done(now, now, &Done::Ours(1));
    assert!(lease.leads(now));
    assert_eq!(lease.next(now), (Op::Update(1), now + TERM / LOOKS));
    assert!(!lease.leads(now + TERM * 2 / 3), "it stops by itself before another may take over");
}

#[test]
fn another_is_left_alone_while_it_renews_and_followed_when_it_does_not() {
    let (mut lease, mut now) = lease();
    for revision in 1..50 {
        lease.done(now, now, &entry(revision, "other"));
        assert_eq!(lease.next(now).0, Op::Read);
        now += TERM / LOOKS;
    }
    lease.done(now, now, &entry(50, "other"));
    let since = now;
    while now < since + TERM {
        assert_eq!(lease.next(now).0, Op::Read);
        lease.done(now, now, &entry(50, "other"));
        now += TERM / LOOKS;
    }
    assert_eq!(lease.next(now), (Op::Update(50), now));
    lease.done(now, now, &Done::Conflict);
    assert_eq!(lease.next(now).0, Op::Read, "somebody else was faster");
}

#[test]
fn what_was_given_up_is_taken_at_once() {
    let (mut lease, now) = lease();
    lease.done(now, now, &entry(7, ""));
    assert_eq!(lease.next(now), (Op::Update(7), now));
}

#[test]
fn who_cannot_hear_does_not_take_over_and_does_not_stay() {
    let (mut lease, now) = lease();
    lease.done(now, now, &entry(7, "other"));
    let later = now + TERM * 2;
    lease.done(later, later, &Done::Failed(String::new()));
    assert_eq!(lease.next(later).0, Op::Read, "it was deaf: the other may well have renewed");
    lease.done(later, later, &Done::Ours(8));
    lease.done(later, later + TERM / 2, &Done::Failed(String::new()));
    assert!(lease.leads(later + TERM / 2));
    lease.done(later, later + TERM, &Done::Failed(String::new()));
    assert!(!lease.leads(later + TERM));
    assert_eq!(lease.next(later + TERM).0, Op::Read);
}

#[test]
fn the_lease_of_any_stream_has_a_key_that_a_bucket_takes() {
    let of = |name: &str| {
        let mut settings = Nats::default();
        settings.jetstream.stream_name = name.to_owned();
        key(&settings)
    };
    assert_eq!(of("MARKET_DATA-2"), "leader.MARKET_DATA-2");
    assert_eq!(of("TRADES@EU"), "leader.TRADES=40EU");
    assert_ne!(of("a=40"), of("a@"), "each stream has its own");
}

#[test]
fn two_of_one_name_do_not_take_it_from_each_other() {
    let now = clock::now();
    let (mut one, mut two) = (Lease::new("pair 1".to_owned(), TERM, now), Lease::new("pair 2".to_owned(), TERM, now));
    one.done(now, now, &Done::Ours(1));
    two.done(now, now, &entry(1, "pair 1"));
    assert_eq!(two.next(now).0, Op::Read);
    assert_eq!((two.holder(), two.has_namesake()), (Some("pair"), false), "it may be what our last life has left");
    two.done(now, now, &entry(2, "pair 1"));
    assert_eq!(two.next(now).0, Op::Read);
    assert!(two.has_namesake(), "nobody else can have renewed it");
    one.done(now, now + TERM, &Done::Failed(String::new()));
    one.done(now + TERM, now + TERM, &entry(2, "pair 1"));
    assert_eq!(one.next(now + TERM), (Op::Update(2), now + TERM), "our own, whose answer was lost");
    assert!(!one.has_namesake());
}

#[test]
fn others_are_no_namesakes() {
    let (mut lease, now) = lease();
    for (revision, holder) in (1..).zip(["other", "other", "", "another 1", "another 2"]) {
        lease.done(now, now, &entry(revision, holder));
        assert!(!lease.has_namesake());
    }
    assert_eq!(lease.holder(), Some("another"));
}

#[test]
fn whoever_renews_it_is_known_to_live_and_nobody_else() {
    let (mut lease, now) = lease();
    lease.done(now, now, &entry(1, "other"));
    assert_eq!((lease.holder(), lease.leader()), (Some("other"), None), "it may have died long ago");
    lease.done(now, now, &entry(2, "other"));
    assert_eq!(lease.leader(), Some("other"));
    lease.done(now, now, &entry(2, "other"));
    assert_eq!(lease.leader(), Some("other"));
    lease.done(now, now, &Done::Failed(String::new()));
    assert_eq!((lease.holder(), lease.leader()), (None, None));
    lease.done(now, now, &entry(2, "other"));
    assert_eq!(lease.leader(), None, "it cannot be taken over, and nobody renews it");
    lease.done(now, now, &Done::Failed(String::new()));
    lease.done(now, now, &entry(3, "other"));
    assert_eq!(lease.leader(), Some("other"), "it was renewed while we could not look");
    lease.done(now, now, &Done::Ours(4));
    lease.done(now, now, &Done::Conflict);
    lease.done(now, now, &entry(5, "other"));
    assert_eq!(lease.leader(), Some("other"), "it took it from us");
}
