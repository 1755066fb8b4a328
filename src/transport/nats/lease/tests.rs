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
