-- The three tables of the benchmark, out of a dump: one event a line, times in milliseconds.

CREATE TABLE event AS
SELECT *
FROM read_json(
    getvariable('dump'),
    format = 'newline_delimited',
    columns = {
        person: 'STRUCT(id BIGINT, name VARCHAR, emailAddress VARCHAR, creditCard VARCHAR, city VARCHAR,
            state VARCHAR, "dateTime" BIGINT, extra VARCHAR)',
        auction: 'STRUCT(id BIGINT, itemName VARCHAR, description VARCHAR, initialBid BIGINT, reserve BIGINT,
            "dateTime" BIGINT, expires BIGINT, seller BIGINT, category BIGINT, extra VARCHAR)',
        bid: 'STRUCT(auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR,
            "dateTime" BIGINT, extra VARCHAR)'
    });

CREATE TABLE person AS
SELECT p.* REPLACE (make_timestamp_ms(p."dateTime") AS "dateTime")
FROM (SELECT unnest(person) FROM event WHERE person IS NOT NULL) p;

CREATE TABLE auction AS
SELECT a.* REPLACE (make_timestamp_ms(a."dateTime") AS "dateTime", make_timestamp_ms(a.expires) AS expires)
FROM (SELECT unnest(auction) FROM event WHERE auction IS NOT NULL) a;

CREATE TABLE bid AS
SELECT b.* REPLACE (make_timestamp_ms(b."dateTime") AS "dateTime")
FROM (SELECT unnest(bid) FROM event WHERE bid IS NOT NULL) b;

-- Of the bids in the time of an auction the winner. What the benchmark leaves open is decided as the example says: of
-- equally high bids the earliest, then the smallest bidder, then the first extra.
CREATE VIEW winner AS
SELECT a.id, a.seller, a.category, b.bidder, b.price, b."dateTime", b.extra
FROM auction a JOIN bid b ON a.id = b.auction AND b."dateTime" BETWEEN a."dateTime" AND a.expires
QUALIFY row_number() OVER (PARTITION BY a.id ORDER BY b.price DESC, b."dateTime", b.bidder, b.extra) = 1;
