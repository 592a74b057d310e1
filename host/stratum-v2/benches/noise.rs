//! The encrypted transport: what one record costs with each cipher at hand, and one handshake.
//!
//! The names say what a pool does with it: `submission` is a share in and its answer out (two records each way),
//! `job` is one announcement out (6 and 300 bytes).

use std::hint::black_box;

use chacha20poly1305::aead::{AeadInPlace, KeyInit};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use sluice_stratum_v2::noise::{
    AuthoritySecret, HEADER_RECORD, Identity, Initiator, Responder, Transport, Validity,
};

const SHARE: usize = 24;
const JOB: usize = 300;
const RECORDS: [usize; 3] = [6, SHARE, JOB];
const KEY: [u8; 32] = [7; 32];

fn identity() -> Identity {
    let authority = AuthoritySecret::from_entropy([3; 32]).expect("a key");
    Identity::issue([5; 32], &authority, Validity { valid_from: 0, not_valid_after: u32::MAX })
        .expect("a key")
}

fn session() -> (Transport, Transport) {
    let (initiator, act1) = Initiator::new(None, [1; 32]).expect("a key");
    let (act2, server) = Responder::answer(&identity(), &act1, [2; 32]).expect("an answer");
    (initiator.finish(&act2, 0).expect("a session"), server)
}

/// What the pool pays for a share: the client's frame is sealed outside the measured time.
fn submission(c: &mut Criterion) {
    let (mut client, mut server) = session();
    c.benchmark_group("submission").throughput(Throughput::Elements(1)).bench_function("ours", |b| {
        let mut frame = Vec::with_capacity(256);
        let mut opened = Vec::with_capacity(256);
        let mut answer = Vec::with_capacity(256);
        b.iter_custom(|rounds| {
            let mut frames = Vec::new();
            for _ in 0..rounds {
                frame.clear();
                client.send.seal([0; 6], &[&[9; SHARE]], &mut frame);
                frames.extend_from_slice(&frame);
            }
            let start = std::time::Instant::now();
            for frame in frames.chunks(frame.len()) {
                let (header, payload) = frame.split_first_chunk::<HEADER_RECORD>().expect("a header");
                black_box(server.receive.open_header(header).expect("in order"));
                opened.clear();
                server.receive.open_payload(payload, &mut opened).expect("in order");
                answer.clear();
                server.send.seal([0; 6], &[black_box(&opened)], &mut answer);
                black_box(&answer);
            }
            start.elapsed()
        });
    });
}

fn job(c: &mut Criterion) {
    let (_client, mut server) = session();
    let mut out = Vec::with_capacity(512);
    c.benchmark_group("job").throughput(Throughput::Elements(1)).bench_function("ours", |b| {
        b.iter(|| {
            out.clear();
            server.send.seal([0; 6], &[black_box(&[9; JOB])], &mut out);
            black_box(&out);
        });
    });
}

fn handshake(c: &mut Criterion) {
    let identity = identity();
    let mut group = c.benchmark_group("handshake");
    group.throughput(Throughput::Elements(1));
    let (_, act1) = Initiator::new(None, [1; 32]).expect("a key");
    let mut count = 0_u64;
    group.bench_function("responder", |b| {
        b.iter(|| {
            count += 1;
            let mut entropy = [2; 32];
            entropy[..8].copy_from_slice(&count.to_le_bytes());
            Responder::answer(&identity, black_box(&act1), entropy).expect("an answer")
        });
    });
    group.finish();
}

/// Sealing one record with each candidate, in place.
fn ciphers(c: &mut Criterion) {
    let mut group = c.benchmark_group("seal");
    for length in RECORDS {
        group.throughput(Throughput::Elements(1));
        let mut plain = vec![9_u8; length];

        let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &KEY).expect("32 bytes"));
        group.bench_function(format!("ring/{length}"), |b| {
            b.iter(|| {
                let nonce = Nonce::assume_unique_for_key([1; 12]);
                key.seal_in_place_separate_tag(nonce, Aad::empty(), black_box(&mut plain)).expect("short")
            });
        });
        let key = KEY;
        group.bench_function(format!("ring, key made each time/{length}"), |b| {
            b.iter(|| {
                let nonce = Nonce::assume_unique_for_key([1; 12]);
                let key = UnboundKey::new(&CHACHA20_POLY1305, black_box(&key)).expect("32 bytes");
                let key = LessSafeKey::new(key);
                key.seal_in_place_separate_tag(nonce, Aad::empty(), black_box(&mut plain)).expect("short")
            });
        });
        let key = chacha20poly1305::ChaCha20Poly1305::new(&KEY.into());
        group.bench_function(format!("chacha20poly1305/{length}"), |b| {
            b.iter(|| {
                key.encrypt_in_place_detached(&[1; 12].into(), &[], black_box(&mut plain)).expect("short")
            });
        });
    }
    group.finish();
}

/// Sealing one record with snow's own stateless transport.
fn snow_transport(c: &mut Criterion) {
    let params: snow::params::NoiseParams = "Noise_NN_25519_ChaChaPoly_SHA256".parse().expect("known");
    let mut client = snow::Builder::new(params.clone()).build_initiator().expect("complete");
    let mut server = snow::Builder::new(params).build_responder().expect("complete");
    let (mut message, mut payload) = ([0; 256], [0; 256]);
    let sent = client.write_message(&[], &mut message).expect("our turn");
    server.read_message(&message[..sent], &mut payload).expect("an act");
    server.write_message(&[], &mut message).expect("our turn");
    let transport = server.into_stateless_transport_mode().expect("finished");

    let mut group = c.benchmark_group("seal");
    for length in RECORDS {
        let plain = vec![9_u8; length];
        let mut out = vec![0_u8; length + 16];
        group.bench_function(format!("snow/{length}"), |b| {
            b.iter(|| transport.write_message(1, black_box(&plain), black_box(&mut out)).expect("room"));
        });
    }
    group.finish();
}

fn sizes(_: &mut Criterion) {
    println!("size of Transport: {} bytes", size_of::<Transport>());
    println!("size of ring's key: {} bytes", size_of::<LessSafeKey>());
}

criterion_group!(benches, sizes, submission, job, handshake, ciphers, snow_transport);
criterion_main!(benches);
