-- A session begins with a bid that comes more than 10 seconds after the one before.
WITH begun AS (
    SELECT bidder, "dateTime",
        coalesce("dateTime" - lag("dateTime") OVER w > INTERVAL 10 SECONDS, true) AS begins
    FROM bid
    WINDOW w AS (PARTITION BY bidder ORDER BY "dateTime")
),
numbered AS (
    SELECT bidder, "dateTime",
        sum(begins::INT) OVER (PARTITION BY bidder ORDER BY "dateTime" ROWS UNBOUNDED PRECEDING) AS session
    FROM begun
)
SELECT bidder, count(*) AS bid_count, min("dateTime") AS starttime,
    max("dateTime") + INTERVAL 10 SECONDS AS endtime
FROM numbered
GROUP BY bidder, session
