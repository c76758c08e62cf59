<?php
const SHOP = 'Harbour Supplies';
const NOTES = '/var/www/data/notes.jsonl';
const RATES = '/var/www/data/rates.json';
const UPLOADS = __DIR__ . '/uploads';

function page(string $title, string $body): void
{
    header('Content-Type: text/html; charset=utf-8');
    $title = htmlspecialchars($title);
    echo "<!doctype html><title>$title</title><h1>$title</h1>\n$body\n";
}
