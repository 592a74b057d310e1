//! Frames over a socket, sealed or in the clear. Whatever a test wants to send can be sent.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use sluice_stratum_v2::messages::{self, Decoded, Message, ServerMessage};
use sluice_stratum_v2::noise::{self, AuthorityKey, HEADER_RECORD, Initiator, Transport};
use sluice_stratum_v2::wire::FrameHeader;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::entropy;
use crate::SOON;

/// A frame as it came.
#[derive(Clone, Debug)]
pub struct Frame {
    pub header: FrameHeader,
    pub payload: Vec<u8>,
}

impl Frame {
    /// # Errors
    /// Not a message of a mining server, not as table W has it, or with bytes behind its fields.
    pub fn message(&self) -> Result<ServerMessage<'_>> {
        let Decoded::Message { message, trailing } = ServerMessage::decode(self.header, &self.payload)?
        else {
            bail!("a message that no mining server sends: {:?}", self.header);
        };
        let bit = self.header.channel_message;
        ensure!(message.is_channel_message() == bit, "{} with channel bit {bit} (F-7)", message.name());
        ensure!(trailing.is_empty(), "{} bytes behind {}", trailing.len(), message.name());
        Ok(message)
    }
}

/// How bytes go over the socket.
enum Link {
    Clear,
    Noise(Box<Transport>),
}

/// A connection.
pub struct Wire {
    stream: TcpStream,
    link: Link,
    /// What has come and was not looked at.
    inbox: Vec<u8>,
    /// Of a frame whose payload has not come.
    header: Option<FrameHeader>,
}

impl Wire {
    /// Connects, and says nothing: for the lab's listener, or to speak raw bytes.
    ///
    /// # Errors
    /// No connection.
    pub async fn clear(address: SocketAddr) -> Result<Self> {
        let stream = timeout(SOON, TcpStream::connect(address)).await.context("connecting hangs")??;
        stream.set_nodelay(true)?;
        Ok(Self { stream, link: Link::Clear, inbox: Vec::new(), header: None })
    }

    /// Connects and makes the handshake; with an authority, the certificate is checked.
    ///
    /// # Errors
    /// No connection, or an Act 2 that is not what it should be.
    pub async fn connect(address: SocketAddr, authority: Option<AuthorityKey>) -> Result<Self> {
        let mut wire = Self::clear(address).await?;
        let (initiator, act_1) = Initiator::new(authority, entropy()?)?;
        wire.send_raw(&act_1).await?;
        let act_2 = wire.raw(noise::ACT_2).await?;
        let act_2 = act_2.as_slice().try_into().context("closed within the handshake")?;
        wire.link = Link::Noise(Box::new(initiator.finish(act_2, now()?)?));
        Ok(wire)
    }

    /// Bytes as they are.
    ///
    /// # Errors
    /// The peer closed, or does not read.
    pub async fn send_raw(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(timeout(SOON, self.stream.write_all(bytes)).await.context("sending hangs")??)
    }

    /// What a frame is on the wire; it must be the next one sent.
    pub fn seal(&mut self, header: FrameHeader, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match &mut self.link {
            Link::Clear => {
                out.extend_from_slice(&header.write());
                out.extend_from_slice(payload);
            }
            Link::Noise(transport) => transport.send.seal(header.write(), &[payload], &mut out),
        }
        out
    }

    /// A frame, whether or not its header fits it.
    ///
    /// # Errors
    /// The peer closed, or does not read.
    pub async fn send_frame(&mut self, header: FrameHeader, payload: &[u8]) -> Result<()> {
        let bytes = self.seal(header, payload);
        self.send_raw(&bytes).await
    }

    /// # Errors
    /// The peer closed, or does not read.
    pub async fn send<'a, M: Message<'a>>(&mut self, message: &M) -> Result<()> {
        self.send_with(message, &[]).await
    }

    /// A message with bytes behind its last field.
    ///
    /// # Errors
    /// The peer closed, or does not read.
    pub async fn send_with<'a, M: Message<'a>>(&mut self, message: &M, trailing: &[u8]) -> Result<()> {
        let mut payload = Vec::new();
        message.encode(&mut payload);
        payload.extend_from_slice(trailing);
        self.send_frame(messages::header_of::<M>(payload.len()), &payload).await
    }

    /// The next frame; `None` when the peer closed. What was begun is kept when the limit is over.
    ///
    /// # Errors
    /// Nothing within `limit`, or a record that does not open.
    pub async fn frame_within(&mut self, limit: Duration) -> Result<Option<Frame>> {
        timeout(limit, self.frame()).await.context("the pool is silent")?
    }

    /// # Errors
    /// Silence, or the peer closed.
    pub async fn frame(&mut self) -> Result<Option<Frame>> {
        let header = match self.header {
            Some(header) => header,
            None => {
                let Some(header) = self.read_header().await? else { return Ok(None) };
                *self.header.insert(header)
            }
        };
        let length = usize::try_from(header.length)?;
        let payload = match &self.link {
            Link::Clear => self.take(length).await?,
            Link::Noise(_) => self.take(noise::sealed_length(length)).await?,
        };
        let Some(mut payload) = payload else { return Ok(None) };
        self.header = None;
        if let Link::Noise(transport) = &mut self.link {
            let sealed = std::mem::take(&mut payload);
            transport.receive.open_payload(&sealed, &mut payload)?;
        }
        Ok(Some(Frame { header, payload }))
    }

    async fn read_header(&mut self) -> Result<Option<FrameHeader>> {
        let length = match self.link {
            Link::Clear => FrameHeader::LENGTH,
            Link::Noise(_) => HEADER_RECORD,
        };
        let Some(bytes) = self.take(length).await? else { return Ok(None) };
        let plain = match &mut self.link {
            Link::Clear => bytes.as_slice().try_into()?,
            Link::Noise(transport) => transport.receive.open_header(bytes.as_slice().try_into()?)?,
        };
        Ok(Some(FrameHeader::read(plain)))
    }

    /// So many bytes; `None` if the peer closes before. Nothing is lost when the wait is given up.
    async fn take(&mut self, count: usize) -> Result<Option<Vec<u8>>> {
        while self.inbox.len() < count {
            if !self.read_some().await? {
                return Ok(None);
            }
        }
        let rest = self.inbox.split_off(count);
        Ok(Some(std::mem::replace(&mut self.inbox, rest)))
    }

    /// Whether anything came; else the peer closed.
    async fn read_some(&mut self) -> Result<bool> {
        match self.stream.read_buf(&mut self.inbox).await {
            Ok(count) => Ok(count > 0),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The next `count` bytes as they are, or fewer where the peer closes before.
    ///
    /// # Errors
    /// Silence.
    pub async fn raw(&mut self, count: usize) -> Result<Vec<u8>> {
        let bytes = timeout(SOON, self.take(count)).await.context("the pool is silent")??;
        Ok(bytes.unwrap_or_else(|| std::mem::take(&mut self.inbox)))
    }

    /// Reads until the peer closes; returns the bytes as they are.
    ///
    /// # Errors
    /// It does not close.
    pub async fn until_closed(&mut self) -> Result<Vec<u8>> {
        let drain = async {
            while self.read_some().await? {}
            Ok::<_, anyhow::Error>(())
        };
        timeout(SOON, drain).await.context("the pool keeps the connection open")??;
        Ok(std::mem::take(&mut self.inbox))
    }

    /// Reads frames until the peer closes.
    ///
    /// # Errors
    /// It does not close.
    pub async fn frames_until_closed(&mut self) -> Result<Vec<Frame>> {
        let mut frames = Vec::new();
        // Work goes on coming while the connection is open: the limit is for all of it.
        let rest = async {
            while let Some(frame) = self.frame().await? {
                frames.push(frame);
            }
            anyhow::Ok(())
        };
        timeout(SOON, rest).await.context("the pool keeps the connection open")??;
        Ok(frames)
    }

    /// Says that nothing more will be sent.
    ///
    /// # Errors
    /// The peer closed.
    pub async fn half_close(&mut self) -> Result<()> {
        Ok(self.stream.shutdown().await?)
    }
}

fn now() -> Result<u32> {
    Ok(u32::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?)
}
