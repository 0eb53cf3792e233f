//! Pictures through real sockets, and after a change of network.

use std::collections::BTreeMap;

use sfu::{
    control::{ClientKind, Command, ControlError, Event, Join, Reply, RoomPolicy, SlotChange},
    driver::{
        client::{self, CallError},
        node::Ended,
    },
    engine::id::{SlotId, SourceKind, SourceNumber},
    wire::rtp::{HeaderFields, RtpPacket},
};

use crate::{client::Client, kit::*};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_ice_restart_both_ways_go_on_at_the_new_address() {
    let (node, connector) = start();
    let (control, mut events, welcome) = client::connect_in_process(&connector).await.expect("a node");
    open_room(&control).await;
    let [(mut an, to_an), (mut binh, to_binh)] = pair(&control, &mut events, welcome.media[0]).await;

    let mut frame = 0_u16;
    for goal in [10, 30] {
        if goal == 30 {
            // Both change their network: the sender's packets come from elsewhere, the receiver's must follow it.
            for (name, client, former) in [("an", &mut an, &to_an), ("binh", &mut binh, &to_binh)] {
                client.move_away().await;
                let restarted = control
                    .call(Command::Restart {
                        room: room(),
                        seat: seat(name),
                        offer: client.offer(),
                    })
                    .await;
                let Ok(Reply::Restarted { answer }) = restarted else {
                    panic!("{restarted:?}")
                };
                let ufrag = |answer: &str| {
                    answer
                        .lines()
                        .find(|l| l.starts_with("a=ice-ufrag:"))
                        .map(str::to_owned)
                };
                assert_ne!(ufrag(&answer), ufrag(former));
                client.check(&answer).await;
            }
        }
        while binh.received.len() < goal {
            send_picture(&mut an, frame).await;
            frame += 1;
            binh.turn().await;
            an.turn().await;
        }
    }
    let mut numbers: Vec<_> = binh
        .received
        .iter()
        .map(|packet| RtpPacket::parse(packet).expect("RTP").sequence())
        .collect();
    numbers.dedup();
    assert_eq!(
        numbers.len(),
        binh.received.len(),
        "the same association, nothing twice"
    );
    while let Some(event) = events.try_next() {
        assert!(!matches!(event, Event::Media { .. }), "{event:?}");
    }
    assert_eq!(control.call(Command::Shutdown).await, Ok(Reply::Done));
    assert_eq!(node.await.expect("no panic").expect("ended well"), Ended::Asked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_goes_from_one_client_to_the_other_under_its_number() {
    let (node, connector) = start();
    let (control, mut events, welcome) = client::connect_in_process(&connector).await.expect("a node");
    open_room(&control).await;
    let [(mut an, _), (mut binh, _)] = pair(&control, &mut events, welcome.media[0]).await;

    let mut frame = 0_u16;
    while binh.received.len() < 20 {
        send_picture(&mut an, frame).await;
        frame += 1;
        binh.turn().await;
        an.turn().await;
    }
    let packets: Vec<_> = binh
        .received
        .iter()
        .map(|packet| RtpPacket::parse(packet).expect("RTP"))
        .collect();
    let first = packets[0].sequence();
    for (index, packet) in packets.iter().enumerate() {
        assert_eq!(packet.csrcs().collect::<Vec<_>>(), [camera(1).get()]);
        assert_eq!(packet.sequence(), first.wrapping_add(index as u16));
        assert_eq!(packet.payload()[4..], key_frame(0)[4..]);
    }
    let change = SlotChange {
        slot: SlotId::video(0),
        source: Some(camera(1)),
        time: Some(packets[0].timestamp()),
    };
    let told = Event::Slots {
        room: room(),
        seat: seat("binh"),
        changes: vec![change],
    };
    let mut seen = Vec::new();
    while let Some(event) = events.try_next() {
        seen.push(event);
    }
    assert!(seen.contains(&told), "{seen:?}");

    let Ok(Reply::Snapshot { rooms }) = control.call(Command::Snapshot).await else {
        panic!("no snapshot")
    };
    let seats: Vec<_> = rooms[0]
        .seats
        .iter()
        .map(|seat| (seat.seat.as_str(), seat.number.get(), seat.connected))
        .collect();
    assert_eq!((rooms.len(), rooms[0].number_max), (1, 2));
    assert_eq!(seats, [("an", 1, true), ("binh", 2, true)]);
    assert_eq!(rooms[0].seats[1].seat_note, "note of binh");
    assert!(rooms[0].seats[1].slots.contains(&change));
    let Ok(Reply::Metrics { text }) = control.call(Command::Metrics).await else {
        panic!("no metrics")
    };
    assert!(text.contains("diemcau_endpoints_connected 2\n"), "{text}");

    assert_eq!(control.call(Command::Shutdown).await, Ok(Reply::Done));
    assert_eq!(node.await.expect("no panic").expect("ended well"), Ended::Asked);
    while !(an.closed && binh.closed) {
        an.turn().await;
        binh.turn().await;
    }
}

/// A publisher without header extensions and a player, in a room that is full with one point.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_player_gets_what_it_is_aimed_at_and_a_publisher_restarts_by_a_fragment() {
    let (_node, connector) = start();
    let (control, mut events, welcome) = client::connect_in_process(&connector).await.expect("a node");
    let policy = RoomPolicy {
        points_max: 1,
        players_max: 1,
        ..RoomPolicy::default()
    };
    let opened = control.call(Command::OpenRoom { room: room(), policy }).await;
    assert_eq!(opened, Ok(Reply::Done));
    let media = welcome.media[0];
    let (mut an, mut binh) = (Client::new(media).await, Client::new(media).await);
    let call = async |name: &'static str, point, client: &Client, kind| {
        let join = Join {
            client: kind,
            sources: BTreeMap::new(),
            published: Vec::new(),
            ..join(name, point, client.offer())
        };
        control.call(Command::Join(Box::new(join))).await
    };
    let (mic, camera_kind) = (SourceKind::Mic, SourceKind::Camera);
    let Ok(Reply::Joined {
        answer,
        slots,
        sources,
    }) = call("an", 1, &an, ClientKind::Publisher).await
    else {
        panic!("refused")
    };
    assert_eq!((slots.len(), sources), (0, vec![mic, camera_kind]));
    an.connect(&answer).await;
    connected(&mut events, "an").await;
    let Ok(Reply::Joined {
        answer,
        slots,
        sources,
    }) = call("binh", 2, &binh, ClientKind::Player).await
    else {
        panic!("refused")
    };
    let pair = [SlotId::audio(0), SlotId::video(0)];
    assert_eq!(
        (slots.into_keys().collect::<Vec<_>>(), sources),
        (pair.to_vec(), vec![])
    );
    binh.connect(&answer).await;
    connected(&mut events, "binh").await;
    let third = call("chi", 3, &binh, ClientKind::Player).await;
    assert_eq!(third, Err(CallError::Refused(ControlError::RoomFull)));

    show(&control, "binh", camera(1)).await;
    let voice = number(1).source(mic);
    let heard = Command::SetVoice {
        room: room(),
        seat: seat("binh"),
        source: Some(voice),
    };
    assert_eq!(control.call(heard).await, Ok(Reply::Done));
    let wrong = Command::SetVoice {
        room: room(),
        seat: seat("binh"),
        source: Some(camera(1)),
    };
    let refused = control.call(wrong).await;
    assert_eq!(refused, Err(CallError::Refused(ControlError::BadValue)));

    let mut frame = 0_u16;
    for goal in [10, 30] {
        if goal == 30 {
            an.move_away().await;
            let restarted = control
                .call(Command::RestartIce {
                    room: room(),
                    seat: seat("an"),
                    fragment: an.fragment(),
                })
                .await;
            let Ok(Reply::Restarted { answer }) = restarted else {
                panic!("{restarted:?}")
            };
            an.check(&answer).await;
        }
        let of = |binh: &Client, source: SourceNumber| {
            let packets = binh.received.iter();
            let packets = packets.map(|packet| RtpPacket::parse(packet).expect("RTP"));
            packets.filter(|packet| packet.csrcs().eq([source.get()])).count()
        };
        while of(&binh, camera(1)) < goal || of(&binh, voice) < goal {
            send_picture_of(&mut an, "", frame).await;
            let fields = HeaderFields {
                payload_type: 111,
                sequence: frame,
                timestamp: u32::from(frame) * 960,
                ssrc: 78,
                ..HeaderFields::default()
            };
            an.send("", &fields, &[0x78; 60]).await;
            frame += 1;
            binh.turn().await;
            an.turn().await;
        }
    }
}
