<?php
require __DIR__ . '/config.php';

// The hole of many a real shop: the file keeps the name the visitor gave it, so
// that a script stays a script.
$body = '<form method="post" enctype="multipart/form-data"><input type="file" name="picture"><button>Send</button></form>';
if (isset($_FILES['picture'])) {
    $name = preg_replace('/[^\w.-]/', '_', basename($_FILES['picture']['name']));
    if (!move_uploaded_file($_FILES['picture']['tmp_name'], UPLOADS . '/' . $name)) {
        http_response_code(500);
    }
    $body .= "<p><a href=\"/uploads/$name\">$name</a></p>";
}
page('Pictures', $body);
