WITH highest AS (
    SELECT max(price) AS price, time_bucket(INTERVAL 10 SECONDS, "dateTime") + INTERVAL 10 SECONDS AS window_end
    FROM bid
    GROUP BY window_end
)
SELECT b.auction, b.bidder, b.price, b."dateTime", b.extra
FROM bid b JOIN highest h ON b.price = h.price
    AND b."dateTime" BETWEEN h.window_end - INTERVAL 10 SECONDS AND h.window_end
