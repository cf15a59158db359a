//! The writer of one worker: rows in pieces, each a `COPY` that is a transaction of its own.
//!
//! While a piece is on its way the next is gathered. Invariant: [`stage`](Writer::stage) returns when every row since
//! the last call is durable in the database, under the number that the receipt names. It does not know epochs: its
//! parts are counted from its start.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::SinkExt;
use highwater::operators::batch::Batch;
use highwater::operators::error::Cause;
use highwater::operators::sink::Writer;
use highwater::state::Epoch;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Statement};

use crate::column::{Column, encode_columns};
use crate::connection::within;
use crate::error::PostgresError;
use crate::ledger::Ledger;
use crate::limits::PIECE_BYTES;
use crate::piece::{OWN_COLUMNS, Piece};
use crate::plan::Receipt;
use crate::sink::Shared;

/// The writer of one worker.
pub(crate) struct PostgresWriter<T> {
    shared: Arc<Shared>,
    columns: Arc<Vec<Column<T>>>,
    types: Vec<Type>,
    instance: i64,
    worker: usize,
    link: Arc<Link>,
    /// Which part is being written, from 1.
    part: i64,
    /// How many rows of it were sent.
    rows: u64,
    /// How many records were taken since the start.
    taken: u64,
    /// Rows that were not sent yet.
    piece: Piece,
    /// Tells how the piece fares that is on its way.
    sending: Option<Receiver<Result<(), PostgresError>>>,
    /// How one failed that was on its way.
    failure: Option<PostgresError>,
}

/// A connection, and the statement that takes rows.
struct Link {
    client: Client,
    copy: Statement,
}

impl<T> PostgresWriter<T> {
    pub(crate) fn open(
        shared: Arc<Shared>,
        columns: Arc<Vec<Column<T>>>,
        types: Vec<Type>,
        instance: i64,
        worker: usize,
    ) -> Result<Self, PostgresError> {
        let ledger = shared.ledger.clone();
        let link = shared.ledger.postgres.wait(async move {
            let client = ledger.connect().await?;
            let copy = client.prepare(&ledger.plan.copy()).await.map_err(|error| {
                ledger.postgres.failed(&error, |refusal| ledger.refused("a place for rows", refusal))
            })?;
            Ok(Link { client, copy })
        })?;
        let keys = shared.ledger.plan.key_places();
        Ok(PostgresWriter {
            shared,
            columns,
            types,
            instance,
            worker,
            link: Arc::new(link),
            part: 1,
            rows: 0,
            taken: 0,
            piece: Piece::of(keys),
            sending: None,
            failure: None,
        })
    }

    fn take(&mut self, record: &T) -> Result<(), PostgresError> {
        self.taken += 1;
        let row = &mut self.piece.bytes;
        let start = row.len();
        row.put_i16((OWN_COLUMNS + self.columns.len()) as i16);
        put_i64(row, self.instance);
        row.put_i32(4);
        row.put_i32(self.worker as i32);
        put_i64(row, self.part);
        put_i64(row, self.taken as i64);
        let encoded = encode_columns(&self.columns, &self.types, record, row);
        encoded.map_err(|fault| PostgresError::Record {
            table: self.shared.ledger.plan.table.clone(),
            column: fault.column,
            worker: self.worker,
            record: self.taken,
            reason: fault.reason,
        })?;
        self.piece.end_row(start);
        Ok(())
    }

    /// Whether no piece is on its way.
    fn is_idle(&mut self) -> bool {
        let sent = match self.sending.as_ref().map(Receiver::try_recv) {
            None => return true,
            Some(Err(TryRecvError::Empty)) => return false,
            Some(Err(TryRecvError::Disconnected)) => Err(self.ended()),
            Some(Ok(sent)) => sent,
        };
        self.sending = None;
        self.failure = sent.err();
        true
    }

    /// Waits until no piece is on its way, and tells how the last one fared.
    fn settle(&mut self) -> Result<(), PostgresError> {
        if let Some(sending) = self.sending.take() {
            sending.recv().unwrap_or_else(|_| Err(self.ended()))?;
        }
        self.failure.take().map_or(Ok(()), Err)
    }

    fn ended(&self) -> PostgresError {
        let server = self.shared.ledger.postgres.describe();
        PostgresError::Connection { server, reason: "the task that talks to it has ended".to_owned() }
    }

    /// Sends what was gathered; nothing is on its way.
    fn send(&mut self) {
        let (piece, rows) = self.piece.take();
        self.rows += rows;
        let (send, receive) = sync_channel(1);
        let (ledger, link, worker) = (self.shared.ledger.clone(), Arc::clone(&self.link), self.worker);
        self.shared.ledger.postgres.spawn(async move {
            let sent = link.send(&ledger, worker, piece);
            let limit = ledger.postgres.timeout;
            let sent = within(&ledger.postgres, limit, "a piece of rows", sent).await;
            let _ = send.send(sent);
        });
        self.sending = Some(receive);
    }
}

fn put_i64(row: &mut BytesMut, number: i64) {
    row.put_i32(8);
    row.put_i64(number);
}

impl Link {
    async fn send(&self, ledger: &Ledger, worker: usize, piece: Bytes) -> Result<(), PostgresError> {
        let sending = async {
            let mut copy = std::pin::pin!(self.client.copy_in(&self.copy).await?);
            copy.send(piece).await?;
            copy.finish().await
        };
        let sent: Result<u64, tokio_postgres::Error> = sending.await;
        let table = &ledger.plan.table;
        sent.map(|_| ()).map_err(|error| {
            let row = |refusal| PostgresError::Row { table: table.clone(), worker, refusal };
            ledger.postgres.failed(&error, row)
        })
    }
}

impl<T> Writer<T> for PostgresWriter<T> {
    fn write(&mut self, batch: &mut Batch<T>) -> Result<(), Cause> {
        for record in &batch.values {
            self.take(record).map_err(PostgresError::into_cause)?;
            if self.piece.bytes.len() >= PIECE_BYTES && self.is_idle() {
                self.settle().map_err(PostgresError::into_cause)?;
                self.send();
            }
        }
        batch.values.clear();
        batch.times.clear();
        Ok(())
    }

    fn ready(&mut self) -> bool {
        self.piece.bytes.len() < PIECE_BYTES || self.is_idle()
    }

    fn stage(&mut self, _: Epoch) -> Result<Vec<u8>, Cause> {
        self.settle().map_err(PostgresError::into_cause)?;
        if !self.piece.bytes.is_empty() {
            self.send();
            self.settle().map_err(PostgresError::into_cause)?;
        }
        let (part, rows) = (self.part, std::mem::take(&mut self.rows));
        self.part += 1;
        if rows == 0 {
            return Ok(Vec::new());
        }
        let (instance, worker, after) = (self.instance, self.worker as i32, self.shared.published());
        let receipt = Receipt { instance, worker, part, rows, after };
        Ok(serde_json::to_vec(&receipt).expect("a receipt is numbers"))
    }
}
