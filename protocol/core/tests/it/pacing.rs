//! A cap holds over every second, and is used up when there is enough to send.

use dominator_protocol_core::Schedule;
use proptest::prelude::*;

const SECOND_NS: u64 = 1_000_000_000;

/// What one piece costs on the link.
fn link_len(len: u64) -> u64 {
    len + len / 24
}

/// Streams that share a schedule: each passes a granted piece, then asks for the next one, now and then after a pause.
///
/// Returns when how many bytes passed.
fn run(schedule: &mut Schedule, stream_count: usize, pauses_ms: &[u64], end_ns: u64) -> Vec<(u64, u64)> {
    let mut passed = Vec::new();
    let mut due: Vec<(u64, u64)> = vec![(0, 0); stream_count];
    let mut pauses = pauses_ms.iter().cycle();
    loop {
        let pos = (0..due.len()).min_by_key(|pos| due[*pos].0).unwrap();
        let (now_ns, len) = due[pos];
        if now_ns >= end_ns {
            return passed;
        }
        passed.push((now_ns, link_len(len)));
        let asked_ns = now_ns + pauses.next().unwrap() * 1_000_000;
        // Grants are asked for in the order of time, so a pause is a piece of nothing.
        due[pos] = if asked_ns > now_ns {
            (asked_ns, 0)
        } else {
            let len = schedule.piece_len(stream_count);
            (schedule.take(now_ns, len), len as u64)
        };
    }
}

/// The most that passed in any second.
fn busiest_second(passed: &[(u64, u64)]) -> u64 {
    let (mut most, mut sum, mut first) = (0, 0, 0);
    for (at_ns, len) in passed {
        sum += len;
        while passed[first].0 + SECOND_NS <= *at_ns {
            sum -= passed[first].1;
            first += 1;
        }
        most = most.max(sum);
    }
    most
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_second_is_above_the_cap_by_more_than_three_percent(
        rate in 65_536..200_000_000_u64,
        stream_count in 1..64_usize,
        pauses_ms in proptest::collection::vec(prop_oneof![6 => Just(0_u64), 1 => 1..50_u64, 1 => 500..1500_u64], 1..40),
    ) {
        let passed = run(&mut Schedule::new(Some(rate)), stream_count, &pauses_ms, 4 * SECOND_NS);
        let most = busiest_second(&passed);
        prop_assert!(most <= rate + rate * 3 / 100, "{} bytes in a second under a cap of {}", most, rate);
    }

    #[test]
    fn a_busy_second_is_within_three_percent_below_the_cap(rate in 65_536..200_000_000_u64, stream_count in 1..64_usize) {
        let passed = run(&mut Schedule::new(Some(rate)), stream_count, &[0], 3 * SECOND_NS);
        let sum: u64 = passed.iter().map(|(_, len)| len).sum();
        prop_assert!(sum >= 3 * (rate - rate * 3 / 100), "{} bytes in 3 s under a cap of {}", sum, rate);
    }

    #[test]
    fn a_lowered_cap_holds_from_then_on(first in 1_000_000..200_000_000_u64, second in 65_536..1_000_000_u64) {
        let mut schedule = Schedule::new(Some(first));
        let before = run(&mut schedule, 4, &[0], SECOND_NS);
        schedule.set_rate(Some(second));
        let mut now_ns = before.last().unwrap().0;
        let mut passed = Vec::new();
        while now_ns < 4 * SECOND_NS {
            let len = schedule.piece_len(1);
            now_ns = schedule.take(now_ns, len);
            passed.push((now_ns, link_len(len as u64)));
        }
        prop_assert!(busiest_second(&passed) <= second + second * 3 / 100);
    }
}

#[test]
fn late_wake_ups_cost_no_throughput() {
    let mut schedule = Schedule::new(Some(1_000_000));
    let (mut now_ns, mut sum) = (0, 0);
    while now_ns < 10 * SECOND_NS {
        let len = schedule.piece_len(1);
        // A timer that is up to 3 ms late.
        now_ns = schedule.take(now_ns, len).max(now_ns) + (sum % 4) * 1_000_000;
        sum += link_len(len as u64);
    }
    assert!(sum >= 9_700_000, "{sum}");
}

#[test]
fn without_a_cap_nothing_waits() {
    let mut schedule = Schedule::new(None);
    assert_eq!((schedule.take(7, 1 << 30), schedule.take(8, 1 << 30)), (7, 8));
    schedule.set_rate(Some(1));
    assert_eq!(schedule.rate(), Some(65_536), "a cap is never so low that nothing moves");
}
