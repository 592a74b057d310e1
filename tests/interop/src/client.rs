//! A connection to a pool, made of SRI's crates: Noise, frames and messages are theirs.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use stratum_apps::key_utils::Secp256k1PublicKey;
use stratum_apps::network_helpers::connect_with_noise;
use stratum_apps::network_helpers::noise_stream::{NoiseTcpReadHalf, NoiseTcpWriteHalf};
use stratum_apps::stratum_core::binary_sv2::{Seq064KOwned, Str0255Owned};
use stratum_apps::stratum_core::codec_sv2::SerializedFrame;
use stratum_apps::stratum_core::common_messages_sv2::{
    Protocol, SetupConnectionErrorOwned, SetupConnectionOwned, SetupConnectionSuccessOwned,
};
use stratum_apps::stratum_core::extensions_sv2::{
    EXTENSION_TYPE_WORKER_HASHRATE_TRACKING, RequestExtensionsErrorOwned, RequestExtensionsOwned,
    TLV_FIELD_TYPE_USER_IDENTITY,
};
use stratum_apps::stratum_core::parsers_sv2::{
    AnyMessageOwned, CommonMessagesOwned, ExtensionsNegotiationOwned, ExtensionsOwned, IsSv2Message,
    MiningOwned, Tlv, TlvList, parse_message_frame_with_tlvs,
};
use stratum_apps::utils::types::OutboundFrame;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use sluice_tests::SOON;

/// Bit 0 of SetupConnection's flags (S-10).
pub const REQUIRES_STANDARD_JOBS: u32 = 0b001;
/// Bit 1.
pub const REQUIRES_WORK_SELECTION: u32 = 0b010;
/// Bit 2.
pub const REQUIRES_VERSION_ROLLING: u32 = 0b100;

/// Worker-specific hashrate tracking.
pub const WORKER_EXTENSION: u16 = EXTENSION_TYPE_WORKER_HASHRATE_TRACKING;

/// So many messages may wait to be looked at; then the socket is not read any more.
const INBOX_LIMIT: usize = 4_096;

/// An encrypted connection, from the handshake on.
pub struct Client {
    writer: NoiseTcpWriteHalf,
    inbox: mpsc::Receiver<Result<AnyMessageOwned>>,
}

/// What became of a SetupConnection.
#[derive(Debug)]
pub enum Setup {
    Accepted(SetupConnectionSuccessOwned),
    Refused(SetupConnectionErrorOwned),
}

impl Client {
    /// The handshake; the certificate is checked against `authority`.
    ///
    /// # Errors
    /// No connection, or SRI does not like the handshake.
    pub async fn connect(address: SocketAddr, authority: Secp256k1PublicKey) -> Result<Self> {
        let socket = timeout(SOON, TcpStream::connect(address)).await.context("connecting hangs")??;
        socket.set_nodelay(true)?;
        let stream = connect_with_noise(socket, Some(authority)).await;
        let (reader, writer) = stream.map_err(|error| anyhow!("SRI's handshake: {error}"))?.into_split();
        let (sender, inbox) = mpsc::channel(INBOX_LIMIT);
        tokio::spawn(read(reader, sender));
        Ok(Self { writer, inbox })
    }

    /// # Errors
    /// The peer closed.
    pub async fn send(&mut self, message: AnyMessageOwned) -> Result<()> {
        let frame = OutboundFrame::from_message(message).map_err(|error| anyhow!("{error}"))?;
        self.write(frame).await
    }

    /// A mining message.
    ///
    /// # Errors
    /// The peer closed.
    pub async fn send_mining(&mut self, message: MiningOwned) -> Result<()> {
        self.send(AnyMessageOwned::Mining(message)).await
    }

    /// A share with the name of its worker behind it, as extension 0x0002 wants.
    ///
    /// # Errors
    /// The peer closed.
    pub async fn send_with_worker(&mut self, message: MiningOwned, worker: &str) -> Result<()> {
        let tlv = Tlv::new(WORKER_EXTENSION, TLV_FIELD_TYPE_USER_IDENTITY, worker.as_bytes().to_vec());
        let tlvs = TlvList::from_slice(&[tlv]).map_err(|error| anyhow!("{error}"))?;
        let bytes = tlvs.build_frame_bytes_with_tlvs(message).map_err(|error| anyhow!("{error}"))?;
        let frame = SerializedFrame::from_bytes(bytes);
        self.write(frame.map_err(|hint| anyhow!("a frame that SRI does not take back: {hint}"))?.into()).await
    }

    async fn write(&mut self, frame: OutboundFrame) -> Result<()> {
        let written = timeout(SOON, self.writer.write_frame(frame)).await.context("sending hangs")?;
        written.map_err(|error| anyhow!("SRI's writer: {error}"))
    }

    /// The next message.
    ///
    /// # Errors
    /// Silence, the peer closed, or SRI does not understand it.
    pub async fn next(&mut self) -> Result<AnyMessageOwned> {
        self.next_within(SOON).await?.context("the pool closed the connection")
    }

    /// The next message; `None` when the peer closed.
    ///
    /// # Errors
    /// Silence, or SRI does not understand it.
    pub async fn next_within(&mut self, limit: Duration) -> Result<Option<AnyMessageOwned>> {
        timeout(limit, self.inbox.recv()).await.context("the pool is silent")?.transpose()
    }

    /// The next message, if one has arrived.
    ///
    /// # Errors
    /// The peer closed, or SRI does not understand it.
    pub fn arrived(&mut self) -> Result<Option<AnyMessageOwned>> {
        match self.inbox.try_recv() {
            Ok(message) => message.map(Some),
            Err(mpsc::error::TryRecvError::Empty) => Ok(None),
            Err(mpsc::error::TryRecvError::Disconnected) => bail!("the pool closed the connection"),
        }
    }

    /// SetupConnection, and its answer.
    ///
    /// # Errors
    /// Silence, or another answer.
    pub async fn try_set_up(&mut self, flags: u32) -> Result<Setup> {
        let message = SetupConnectionOwned {
            protocol: Protocol::MiningProtocol,
            min_version: 2,
            max_version: 2,
            flags,
            endpoint_host: text("pool.example")?,
            endpoint_port: 3336,
            vendor: text("sluice-interop")?,
            hardware_version: text("cpu")?,
            firmware: text("sri")?,
            device_id: text("")?,
        };
        self.send(AnyMessageOwned::Common(message.into())).await?;
        match self.next().await? {
            AnyMessageOwned::Common(CommonMessagesOwned::SetupConnectionSuccess(success)) => {
                Ok(Setup::Accepted(success))
            }
            AnyMessageOwned::Common(CommonMessagesOwned::SetupConnectionError(error)) => {
                Ok(Setup::Refused(error))
            }
            other => bail!("no answer to SetupConnection: {other}"),
        }
    }

    /// A SetupConnection that must be accepted, with version 2 and no condition.
    ///
    /// # Errors
    /// It was not.
    pub async fn set_up(&mut self, flags: u32) -> Result<()> {
        match self.try_set_up(flags).await? {
            Setup::Accepted(SetupConnectionSuccessOwned { used_version: 2, flags: 0 }) => Ok(()),
            other => bail!("flags {flags:#b}: {other:?}"),
        }
    }

    /// Extension 0x0001: what the pool supports of `wanted`.
    ///
    /// # Errors
    /// Refused, silence, or another answer.
    pub async fn request_extensions(&mut self, wanted: &[u16]) -> Result<Vec<u16>> {
        match self.negotiate(wanted).await? {
            ExtensionsNegotiationOwned::RequestExtensionsSuccess(success) => {
                ensure!(success.request_id == 7, "an answer to another request: {success:?}");
                Ok(success.supported_extensions.into_inner())
            }
            other => bail!("{wanted:04x?}: {other}"),
        }
    }

    /// Extension 0x0001, where nothing of `wanted` is supported.
    ///
    /// # Errors
    /// Accepted, silence, or another answer.
    pub async fn refused_extensions(&mut self, wanted: &[u16]) -> Result<RequestExtensionsErrorOwned> {
        match self.negotiate(wanted).await? {
            ExtensionsNegotiationOwned::RequestExtensionsError(error) => Ok(error),
            other => bail!("{wanted:04x?}: {other}"),
        }
    }

    async fn negotiate(&mut self, wanted: &[u16]) -> Result<ExtensionsNegotiationOwned> {
        let requested_extensions = Seq064KOwned::new(wanted.to_vec()).map_err(|error| anyhow!("{error}"))?;
        let message = RequestExtensionsOwned { request_id: 7, requested_extensions };
        self.send(AnyMessageOwned::Extensions(message.into())).await?;
        match self.next().await? {
            AnyMessageOwned::Extensions(ExtensionsOwned::ExtensionsNegotiation(answer)) => Ok(answer),
            other => bail!("no answer to RequestExtensions: {other}"),
        }
    }
}

/// A string of SRI's.
///
/// # Errors
/// It is longer than 255 bytes.
pub fn text(value: &str) -> Result<Str0255Owned> {
    value.try_into().map_err(|error| anyhow!("{value:?}: {error}"))
}

/// SRI's reader may not be interrupted within a frame, so it has a task of its own.
async fn read(mut reader: NoiseTcpReadHalf, inbox: mpsc::Sender<Result<AnyMessageOwned>>) {
    while let Ok(mut frame) = reader.read_frame().await {
        let message = understand(&mut frame);
        let understood = message.is_ok();
        if inbox.send(message).await.is_err() || !understood {
            return;
        }
    }
}

/// The message of a frame whose header is what table W says.
fn understand(frame: &mut SerializedFrame) -> Result<AnyMessageOwned> {
    let header = frame.header();
    let (kind, bit) = (header.msg_type(), header.channel_msg());
    let (message, tlvs) = parse_message_frame_with_tlvs(header, frame.payload(), &[WORKER_EXTENSION])
        .map_err(|error| anyhow!("message {kind:#04x}: {error}"))?;
    let message = message.into_owned();
    ensure!(tlvs.is_none(), "the pool sends fields that nobody asked for: {tlvs:?}");
    ensure!(bit == message.channel_bit(), "F-7: the channel bit of {message} is {bit}");
    Ok(message)
}
