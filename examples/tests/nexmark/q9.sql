SELECT a.*, w.id AS auction, w.bidder, w.price, w."dateTime" AS "bid_dateTime", w.extra AS bid_extra
FROM auction a JOIN winner w ON a.id = w.id
