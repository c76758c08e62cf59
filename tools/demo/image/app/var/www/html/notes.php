<?php
require __DIR__ . '/config.php';

if ($_SERVER['REQUEST_METHOD'] === 'POST') {
    $text = preg_replace('/\s+/', ' ', trim($_POST['text'] ?? ''));
    file_put_contents(NOTES, json_encode(['text' => $text]) . "\n", FILE_APPEND | LOCK_EX);
}
$body = '<form method="post"><input name="text"><button>Add</button></form>';
foreach (is_readable(NOTES) ? file(NOTES) : [] as $line) {
    $body .= '<p>' . htmlspecialchars(json_decode($line, true)['text']) . '</p>';
}
page('Notes', $body);
