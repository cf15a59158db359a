-- Of bids of one moment the highest, then the last channel, url and extra, as the example says.
SELECT *
FROM bid
QUALIFY row_number() OVER (
    PARTITION BY bidder, auction ORDER BY "dateTime" DESC, price DESC, channel DESC, url DESC, extra DESC) = 1
