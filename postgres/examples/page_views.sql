-- The tables of the example `page_views`: psql -f postgres/examples/page_views.sql
create table if not exists pages (url text primary key, category text not null);
insert into pages
    select '/' || category || '/' || number, category
    from unnest(array ['news', 'sport', 'weather']) as category, generate_series(0, 9) as number
    on conflict do nothing;
create table if not exists views_per_category (category text primary key, views bigint not null);
create table if not exists views (number bigint not null, url text not null, category text);
