<?php
require __DIR__ . '/config.php';

$body = '<p><a href="/notes.php">Notes</a> <a href="/upload.php">Pictures</a></p>';
if (is_readable(RATES)) {
    foreach (json_decode(file_get_contents(RATES), true) as $currency => $rate) {
        $body .= sprintf('<p>1 EUR = %.2f %s</p>', $rate, htmlspecialchars($currency));
    }
}
page(SHOP, $body);
