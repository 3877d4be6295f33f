//! App messages whose handling is acknowledged: counted alike on both ends, answered in runs, bounded.

use crate::open_session::{broken, broken_device, frame};
use crate::pair::{Pair, START, Setup};
use vouch_protocol::error::{ProtocolError, SendError};
use vouch_protocol::limits::{LIMITS, Limits};
use vouch_protocol::message::{ToDevice, ToServer};
use vouch_protocol::reason::CloseReason;
use vouch_protocol::session::{DeviceEvent, ServerEvent};

fn waiting(messages: u8) -> Pair {
    let mut pair = Setup::honest().open();
    for number in 0..messages {
        assert_eq!(pair.device.send_app_to_handle("up", &[number]), Ok(number.into()));
        pair.device.send_app("other", &[]).unwrap();
    }
    pair.drive();
    for number in 0..messages {
        let event = pair.server_event();
        assert!(matches!(&event, ServerEvent::App { value, to_handle: true, .. } if value == &[number]), "{event:?}");
        let event = pair.server_event();
        assert!(matches!(&event, ServerEvent::App { name, to_handle: false, .. } if name == "other"), "{event:?}");
    }
    pair
}

#[test]
fn one_answer_tells_of_many_and_the_next_goes_on_from_there() {
    let mut pair = waiting(5);
    pair.server.app_handled(3, true);
    pair.server.app_handled(4, false);
    let bytes = pair.server.transmit_backlog();
    assert!(bytes <= 20, "{bytes} bytes");
    pair.server.app_handled(5, true);
    pair.drive();
    let told: Vec<_> = std::iter::from_fn(|| pair.device_events.pop_front()).collect();
    assert!(
        matches!(
            told[..],
            [
                DeviceEvent::AppHandled { next: 3, handled: true },
                DeviceEvent::AppHandled { next: 4, handled: false },
                DeviceEvent::AppHandled { next: 5, handled: true },
            ]
        ),
        "{told:?}"
    );
}

#[test]
fn a_server_says_nothing_of_what_is_answered_or_was_not_sent() {
    let mut pair = waiting(2);
    pair.server.app_handled(0, true);
    pair.server.app_handled(3, true);
    assert_eq!(pair.server.poll_transmit(), None);
    pair.server.app_handled(2, true);
    assert!(pair.server.poll_transmit().is_some());
    pair.server.app_handled(2, true);
    assert_eq!(pair.server.poll_transmit(), None);
    pair.server.close(CloseReason::Drain, None);
    drop(pair.server.poll_transmit());
    pair.server.app_handled(2, true);
    assert_eq!(pair.server.poll_transmit(), None);
}

#[test]
fn a_device_gives_up_a_server_that_answers_for_what_is_answered_or_was_not_sent() {
    for next in [0, 1, 3, LIMITS.report_number] {
        let mut pair = waiting(2);
        pair.server.app_handled(1, true);
        pair.drive();
        pair.device_events.clear();
        pair.device.handle_bytes(&frame(&ToDevice::AppHandled { next, handled: true }), START);
        let error = broken_device(pair.device.poll_event());
        assert_eq!(error, ProtocolError::HandledOutOfOrder { next, answered: 1, sent: 2 });
    }
}

#[test]
fn no_more_wait_for_an_answer_than_the_bound_on_both_ends() {
    let limits = Limits { unhandled: 3, ..LIMITS };
    let mut pair = Setup { limits, ..Setup::honest() }.open();
    for number in 0..3 {
        assert_eq!(pair.device.send_app_to_handle("n", &[]), Ok(number));
    }
    assert_eq!(pair.device.send_app_to_handle("n", &[]), Err(SendError::Full));
    pair.device.send_app("n", &[]).unwrap();
    pair.drive();
    pair.server.app_handled(1, true);
    pair.drive();
    assert_eq!(pair.device.send_app_to_handle("n", &[]), Ok(3));
    pair.drive();
    assert!(pair.server.is_open());
    pair.server_events.clear();
    pair.server.handle_bytes(&frame(&ToServer::AppToHandle { name: "n".into(), value: vec![] }), START);
    assert_eq!(broken(pair.server.poll_event()), ProtocolError::TooManyToHandle(3));
}
