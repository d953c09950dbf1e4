-- Views are code, not history: schema finance is made anew from sql/views.
drop schema if exists finance cascade;
create schema finance authorization trueup_owner;
comment on schema finance is 'Views for people: plain types, a comment on every column. The contract; nothing else is.';
