package scenes

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"

	"github.com/seawall-security/seawall/tools/demo/image"
	"github.com/seawall-security/seawall/tools/demo/stage"
)

// sitePort is where the second web server listens; the shop has the pod's other port.
const sitePort = 8081

// siteConfig is a lighttpd with CGI scripts, and PHP as a CGI program.
const siteConfig = `server.modules = ("mod_cgi", "mod_alias")
server.document-root = "/var/www/html"
server.port = 8081
alias.url = ("/cgi-bin/" => "/srv/site/cgi-bin/")
$HTTP["url"] =~ "^/cgi-bin/" { cgi.assign = ("" => "") }
$HTTP["url"] =~ "\.php$" { cgi.assign = (".php" => "/usr/bin/php-cgi") }
alias.url += ("/app/" => "/srv/site/app/")
mimetype.assign = ("" => "application/octet-stream")
`

// templates compiles a template into a script, as Twig and Smarty do.
const templates = `<?php
$dir = '/var/www/html/uploads/cache';
@mkdir($dir, 0755, true);
file_put_contents("$dir/page.php", "<?php echo 6 * 7;\n");
include "$dir/page.php";
`

// mail sends one. The image has no sendmail: the shell says so, and mail() that it failed.
const mail = `<?php
@mail("ops@store.example", "order", "two shackles", "", "-fshop@store.example");
echo "sent " . 6 * 7;
`

func web() []Scene {
	const shell = "web-server-spawned-shell/"
	const script = "webshell-file-created-by-server/"
	return []Scene{
		{
			File: shell + "positive-php.jsonl", Note: "A script uploaded to a web shop on lighttpd and php-cgi runs a command.", Keep: noReads,
			Prepare: func(ctx context.Context, s *Set) error { return s.shopStep(ctx, "upload a script as a picture") },
			Play:    func(ctx context.Context, s *Set) error { return s.shopStep(ctx, "ask who the server is") },
		},
		{
			File: shell + "positive-script-server.jsonl", Note: "An application server that is a script, by gunicorn's name, runs a command through a shell.", Keep: noReads,
			Prepare: func(context.Context, *Set) error {
				_, err := file("app/gunicorn", "#!/usr/bin/perl\nsystem('id; true');\n")
				return err
			},
			Play: play(box{
				mounts: []string{"type=bind,src=" + filepath.Join(workDir, "app") + ",dst=/srv/app,options=rbind:ro"}, args: []string{"/srv/app/gunicorn"},
			}, "uid=0"),
		},
		{
			File: shell + "negative-php-mail.jsonl", Note: "A page sends mail with PHP's mail(), which starts sendmail through a shell.", Keep: noReads,
			Prepare: startSite,
			Play: func(ctx context.Context, s *Set) error {
				s.use(s.started[0])
				return s.visit(ctx, "/app/mail.php", "sent 42")
			},
		},
		{
			File: shell + "negative-pages.jsonl", Note: "The web shop serves its pages.", Unfiltered: true, Keep: noReads,
			Play: func(ctx context.Context, s *Set) error { return s.shopStep(ctx, "write a note") },
		},
		{
			File: shell + "negative-housekeeping.jsonl", Note: "A scheduler runs a shell script in the web server's container.", Keep: noReads,
			Play: func(ctx context.Context, s *Set) error { return s.shopStep(ctx, "turn over the logs") },
		},
		{
			File: shell + "negative-cgi-script.jsonl", Note: "lighttpd runs a CGI script that is a shell script.", Keep: noReads,
			Prepare: startSite,
			Play: func(ctx context.Context, s *Set) error {
				s.use(s.started[0])
				return s.visit(ctx, "/cgi-bin/status.sh", "answer 42")
			},
		},
		{
			File: script + "positive-upload.jsonl", Note: "A script is uploaded to a web shop as a picture.", Keep: noReads,
			Play: func(ctx context.Context, s *Set) error { return s.shopStep(ctx, "upload a script as a picture") },
		},
		{
			File: script + "negative-picture.jsonl", Note: "A picture is uploaded to the web shop.", Unfiltered: true, Keep: noReads,
			Play: func(ctx context.Context, s *Set) error { return s.shopStep(ctx, "upload a picture") },
		},
		{
			File: script + "negative-template-cache.jsonl", Note: "PHP compiles a template into a script in its cache.", Keep: noReads,
			Prepare: startSite,
			Play: func(ctx context.Context, s *Set) error {
				s.use(s.started[0])
				return s.visit(ctx, "/app/index.php", "42")
			},
		},
		{
			File: script + "negative-deployment.jsonl", Note: "A deployment writes a script below the web root, not the web server.", Keep: noReads,
			Prepare: startSite,
			Play: func(ctx context.Context, s *Set) error {
				_, err := s.exec(ctx, s.started[0], "/bin/sh", "-c", "cp /srv/site/app/index.php /var/www/html/uploads/new.php")
				return err
			},
		},
	}
}

// startSite starts a second web server from the shop's image and waits for it.
func startSite(ctx context.Context, s *Set) error {
	for name, text := range map[string]string{
		"site/lighttpd.conf":     siteConfig,
		"site/cgi-bin/status.sh": "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\nanswer %s\\n' $((6 * 7))\n",
		"site/app/index.php":     templates,
		"site/app/mail.php":      mail,
	} {
		if _, err := file(name, text); err != nil {
			return err
		}
	}
	_, err := s.start(ctx, box{
		image: shopImage, name: "site", network: true,
		mounts: []string{"type=bind,src=" + filepath.Join(workDir, "site") + ",dst=/srv/site,options=rbind:ro"},
		args:   []string{"/usr/sbin/lighttpd", "-D", "-f", "/srv/site/lighttpd.conf"},
	})
	if err != nil {
		return err
	}
	return s.dial(ctx, sitePort, closeAtOnce)
}

// visit asks the second web server for a page.
func (s *Set) visit(ctx context.Context, path, word string) (err error) {
	url := fmt.Sprintf("http://%s%s", netip.AddrPortFrom(podAddress, sitePort), path)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("visit %s: %w", path, err)
	}
	response, err := s.stage.HTTP(stage.Visitor).Do(request)
	if err != nil {
		return fmt.Errorf("visit %s: %w", path, err)
	}
	text, err := readAll(response.Body)
	return errors.Join(err, response.Body.Close(), expect(text, word))
}

// closeAtOnce has nothing to say: that somebody listens is enough.
func closeAtOnce(conn net.Conn) error { return conn.Close() }

// shopImage is the image of the shop, for other containers of it.
const shopImage = image.Reference
