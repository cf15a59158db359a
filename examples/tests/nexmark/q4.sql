-- The highest price alone, without the view of winners: which of equal bids wins does not matter.
WITH highest AS (
    SELECT a.id, a.category, max(b.price) AS price
    FROM auction a JOIN bid b ON a.id = b.auction AND b."dateTime" BETWEEN a."dateTime" AND a.expires
    GROUP BY ALL
)
SELECT category AS id, sum(price) // count(*) AS "final" FROM highest GROUP BY category
