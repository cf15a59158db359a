-- Of equally high bids the earliest, then the smallest bidder, the first channel, url and extra, as the example
-- says.
SELECT *,
    row_number() OVER (
        PARTITION BY auction ORDER BY price DESC, "dateTime", bidder, channel, url, extra) AS rank_number
FROM bid
QUALIFY rank_number <= 10
