-- The windows depend on when the program ran: their counts add up to this.
SELECT bidder, count(*) AS bid_count FROM bid GROUP BY bidder
