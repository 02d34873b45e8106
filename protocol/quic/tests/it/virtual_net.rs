//! A network in memory, with a clock that only moves when nobody has anything to do.
//!
//! Owns links with delay, bandwidth, a queue, loss, duplication and reordering from a printed seed, and the runtime in which
//! connections see this clock. Invariants: between two hosts there is one link for each direction, whatever the number of
//! sockets; the clock jumps to the next packet or timer, never past it; nothing here reads the real clock.
//!
//! Does not slow down `tokio::time`, which stays real: timeouts of calls are far longer than any test here lasts.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    future::Future,
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use dominator_protocol_quic::Network;
use quinn::{
    AsyncTimer, AsyncUdpSocket, Runtime, UdpPoller,
    udp::{EcnCodepoint, RecvMeta, Transmit},
};

/// One direction between two hosts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    pub(crate) bits_per_s: u64,
    pub(crate) delay: Duration,
    /// Longest wait of a packet for those before it; packets that would wait longer are lost.
    pub(crate) queue: Duration,
    pub(crate) loss: f64,
    pub(crate) duplication: f64,
    /// Share of packets that take up to a delay longer than those behind them.
    pub(crate) reordering: f64,
}

impl Link {
    /// A clean link; the round trip takes twice the delay.
    pub(crate) const fn clean(mbit_per_s: u64, delay_ms: u64) -> Self {
        Self {
            bits_per_s: mbit_per_s * 1_000_000,
            delay: Duration::from_millis(delay_ms),
            queue: Duration::from_millis(50),
            loss: 0.0,
            duplication: 0.0,
            reordering: 0.0,
        }
    }
}

/// The network and its clock; clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Net(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    base: Instant,
    now: Duration,
    link: Link,
    rng: u64,
    /// What breaks ties: things happen in the order in which they were begun.
    next_id: u64,
    packets: BTreeMap<(Duration, u64), Packet>,
    timers: BTreeMap<(Duration, u64), Waker>,
    sockets: HashMap<SocketAddr, Inbox>,
    /// Until when each direction is busy with what was sent.
    busy_until: HashMap<(IpAddr, IpAddr), Duration>,
    /// Bytes that each direction has carried.
    carried_len: HashMap<(IpAddr, IpAddr), u64>,
    /// Packets to and from these disappear.
    severed: HashSet<SocketAddr>,
    down_until: Duration,
    next_port: u16,
}

#[derive(Debug)]
struct Packet {
    from: SocketAddr,
    to: SocketAddr,
    ecn: Option<EcnCodepoint>,
    content: Vec<u8>,
}

#[derive(Debug, Default)]
struct Inbox {
    arrived: VecDeque<Packet>,
    waker: Option<Waker>,
}

/// The network as one host sees it.
#[derive(Debug)]
pub(crate) struct Host {
    net: Net,
    address: IpAddr,
}

#[derive(Debug)]
struct Socket {
    net: Net,
    address: SocketAddr,
}

#[derive(Debug)]
struct Timer {
    net: Net,
    at: Duration,
    id: u64,
}

#[derive(Debug)]
struct AlwaysWritable;

/// Runs a test in a network whose seed is printed; `RNG_SEED` in the environment chooses another.
pub(crate) fn run<F: Future<Output = ()>>(link: Link, rng_seed: u64, test: impl FnOnce(Net) -> F) {
    let rng_seed = std::env::var("RNG_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(rng_seed);
    println!("rng_seed {rng_seed}, {link:?}");
    let net = Net(Arc::new(Mutex::new(State {
        base: Instant::now(),
        now: Duration::from_secs(1),
        link,
        // The generator below has no way out of zero.
        rng: rng_seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        next_id: 0,
        packets: BTreeMap::new(),
        timers: BTreeMap::new(),
        sockets: HashMap::new(),
        busy_until: HashMap::new(),
        carried_len: HashMap::new(),
        severed: HashSet::new(),
        down_until: Duration::ZERO,
        next_port: 1,
    })));
    let clock = net.clone();
    // Before the only thread would wait, time moves on; whoever that wakes runs before it asks again.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().on_thread_park(move || clock.advance()).build();
    let runtime = runtime.unwrap();
    runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(300), test(net)).await.expect("the test hangs") });
}

impl Net {
    pub(crate) fn host(&self, address: &str) -> Arc<Host> {
        Arc::new(Host { net: self.clone(), address: address.parse().unwrap() })
    }

    /// How long the network has existed.
    pub(crate) fn now(&self) -> Duration {
        self.state().now
    }

    pub(crate) async fn sleep(&self, duration: Duration) {
        let at = self.now() + duration;
        let mut timer = Timer::new(self.clone(), at);
        std::future::poll_fn(|cx| timer.poll_at(cx)).await;
    }

    /// A number below `limit`.
    pub(crate) fn below(&self, limit: u64) -> u64 {
        self.state().random() % limit
    }

    /// Loses everything for so long.
    pub(crate) fn cut(&self, duration: Duration) {
        let mut state = self.state();
        state.down_until = state.now + duration;
    }

    /// Loses everything to and from the sockets of a host that are open now, for good; neither side is told.
    pub(crate) fn sever(&self, host: &str) -> usize {
        let host: IpAddr = host.parse().unwrap();
        let mut state = self.state();
        let sockets: Vec<SocketAddr> = state.sockets.keys().copied().filter(|socket| socket.ip() == host).collect();
        let count = sockets.len();
        state.severed.extend(sockets);
        count
    }

    /// Bytes of packets that the link from one host to the other has taken.
    pub(crate) fn carried_len(&self, from: &str, to: &str) -> u64 {
        let key = (from.parse().unwrap(), to.parse().unwrap());
        self.state().carried_len.get(&key).copied().unwrap_or(0)
    }

    /// Moves the clock to the next packet or timer, and wakes whom that concerns.
    fn advance(&self) {
        let wakers = self.state().advance();
        for waker in wakers {
            waker.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl State {
    fn advance(&mut self) -> Vec<Waker> {
        let first = |key: Option<&(Duration, u64)>| key.map(|(at, _)| *at);
        let next_packet = first(self.packets.keys().next());
        let next_timer = first(self.timers.keys().next());
        let Some(next) = next_packet.into_iter().chain(next_timer).min() else { return Vec::new() };
        self.now = self.now.max(next);
        let mut wakers = Vec::new();
        while let Some(entry) = self.packets.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let packet = entry.remove();
            if let Some(inbox) = self.sockets.get_mut(&packet.to) {
                inbox.arrived.push_back(packet);
                wakers.extend(inbox.waker.take());
            }
        }
        while let Some(entry) = self.timers.first_entry().filter(|entry| entry.key().0 <= self.now) {
            wakers.push(entry.remove());
        }
        wakers
    }

    fn send(&mut self, packet: Packet) {
        let (from, to) = (packet.from.ip(), packet.to.ip());
        let is_severed = self.severed.contains(&packet.from) || self.severed.contains(&packet.to);
        if is_severed || self.now < self.down_until {
            return;
        }
        let start = self.busy_until.get(&(from, to)).copied().unwrap_or_default().max(self.now);
        if start - self.now > self.link.queue {
            return;
        }
        // What is lost at random was sent: it takes its time on the link.
        let len = packet.content.len() as u64;
        let end = start + Duration::from_nanos(len * 8 * 1_000_000_000 / self.link.bits_per_s);
        self.busy_until.insert((from, to), end);
        *self.carried_len.entry((from, to)).or_default() += len;
        if self.chance(self.link.loss) {
            return;
        }
        let mut arrival = end + self.link.delay;
        if self.chance(self.link.reordering) {
            arrival += self.link.delay.mul_f64(self.share());
        }
        if self.chance(self.link.duplication) {
            let copy = Packet { content: packet.content.clone(), ..packet };
            let id = self.id();
            self.packets.insert((arrival + self.link.delay.mul_f64(0.5), id), copy);
        }
        let id = self.id();
        self.packets.insert((arrival, id), packet);
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn random(&mut self) -> u64 {
        self.rng ^= self.rng << 13;
        self.rng ^= self.rng >> 7;
        self.rng ^= self.rng << 17;
        self.rng
    }

    /// A number from 0 to below 1.
    fn share(&mut self) -> f64 {
        (self.random() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.share() < probability
    }
}

impl Network for Host {
    fn bind(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let mut state = self.net.state();
        let port = match address.port() {
            0 => {
                state.next_port += 1;
                state.next_port
            }
            port => port,
        };
        let address = SocketAddr::new(self.address, port);
        if state.sockets.insert(address, Inbox::default()).is_some() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        Ok(Arc::new(Socket { net: self.net.clone(), address }))
    }

    fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(self.net.clone())
    }
}

impl Runtime for Net {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        let at = at.saturating_duration_since(self.state().base);
        Box::pin(Timer::new(self.clone(), at))
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        tokio::spawn(future);
    }

    fn wrap_udp_socket(&self, _socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn now(&self) -> Instant {
        let state = self.state();
        state.base + state.now
    }
}

impl Timer {
    fn new(net: Net, at: Duration) -> Self {
        let id = net.state().id();
        Self { net, at, id }
    }

    fn poll_at(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.net.state();
        if state.now >= self.at {
            return Poll::Ready(());
        }
        state.timers.insert((self.at, self.id), cx.waker().clone());
        Poll::Pending
    }
}

impl AsyncTimer for Timer {
    fn reset(mut self: Pin<&mut Self>, at: Instant) {
        let mut state = self.net.state();
        state.timers.remove(&(self.at, self.id));
        let at = at.saturating_duration_since(state.base);
        drop(state);
        self.at = at;
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_at(cx)
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.net.state().timers.remove(&(self.at, self.id));
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let content = transmit.contents.to_vec();
        let packet = Packet { from: self.address, to: transmit.destination, ecn: transmit.ecn, content };
        self.net.state().send(packet);
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.net.state();
        let Some(inbox) = state.sockets.get_mut(&self.address) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let mut count = 0;
        for (buf, meta) in bufs.iter_mut().zip(meta) {
            let Some(packet) = inbox.arrived.pop_front() else { break };
            let len = packet.content.len();
            buf[..len].copy_from_slice(&packet.content);
            (meta.addr, meta.len, meta.stride, meta.ecn) = (packet.from, len, len, packet.ecn);
            meta.dst_ip = Some(self.address.ip());
            count += 1;
        }
        if count > 0 {
            return Poll::Ready(Ok(count));
        }
        inbox.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let mut state = self.net.state();
        state.sockets.remove(&self.address);
        state.severed.remove(&self.address);
    }
}

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
