package redact

// What counts as a secret. Sources are the manuals of the programs and the token
// formats that the vendors publish for secret scanning; where they say nothing, what
// the programs print and take.
//
// The three tables answer three questions: is what this name names a secret, is this
// text a token by its shape, and which arguments of this program are secrets.
// rules_test.go shows what each does, and what it leaves alone.

// manner says how the value of a name is judged.
type manner uint8

const (
	// open: not a secret.
	open manner = iota
	// sure: any value, unless it is visibly none: a variable, true, a file of the system.
	sure
	// tolerant: a key may as well be a path or a small number; these stay readable.
	tolerant
	// random: a word so common that the value has to look like a token too.
	random
	// authorization: the value is a scheme and a credential; the scheme stays.
	authorization
	// cookie: the value is a list, name=value; name=value.
	cookie
)

// names are judged by their last word: DB_PASSWORD, db.password, dbPassword and
// --db-password are "password"; password-file and tokens are neither.
var names = map[string]manner{
	"password": sure, "passwd": sure, "pass": sure, "passphrase": sure, "passcode": sure, "passwort": sure,
	"pword": sure, "psw": sure, "pswd": sure, "userpass": sure, "dbpass": sure, "rootpass": sure,
	"secret": sure, "token": sure, "jwt": sure, "bearer": sure, "pat": random, "psk": sure, "otp": sure,
	"storepass": sure, "keypass": sure, "srcstorepass": sure, "deststorepass": sure, "srckeypass": sure, "destkeypass": sure, // keytool
	"proxyauth": sure, "requirepass": sure, "masterauth": sure, "sshpass": sure, // socat, redis, ansible
	"pwd": tolerant, "pw": tolerant, // PWD is a folder
	"apikey": tolerant, "accesskey": tolerant, "secretkey": tolerant, "privatekey": tolerant, "authkey": tolerant,
	"signingkey": tolerant, "encryptionkey": tolerant, "masterkey": tolerant, "accountkey": tolerant, "sharedkey": tolerant,
	"authorization": authorization, "cookie": cookie,
	"auth": random, "credentials": random, "creds": random,
	"sig": random, "signature": random, "session": random, "sid": random, "sessionid": random, "phpsessid": random, "jsessionid": random,
}

// nameEnds are enough at the end of a longer word: authtoken, dbpassword, _authToken.
var nameEnds = []string{"password", "passwd", "passphrase", "secret", "token", "apikey"}

// A key is secret if the word before says what for; a certificate, a cache and a
// dictionary have keys too.
var keyWords = map[string]bool{
	"api": true, "access": true, "secret": true, "private": true, "account": true, "encryption": true, "decryption": true,
	"signing": true, "master": true, "shared": true, "storage": true, "auth": true, "service": true, "deploy": true,
	"webhook": true, "app": true, "application": true, "subscription": true, "certificate": true, // kubeadm's --certificate-key
	"aes": true, "hmac": true, "license": true, "pre": true,
}

// namePrefixes make a switch or a reference of what follows: --no-password,
// --ask-become-pass, --with-token, existingSecret, imagePullSecret.
var namePrefixes = map[string]bool{
	"no": true, "with": true, "use": true, "enable": true, "disable": true, "ask": true, "prompt": true,
	"require": true, "requires": true, "generate": true, "has": true, "is": true, "max": true, "min": true, "num": true, "show": true,
	"print": true, "skip": true, "allow": true, "existing": true, "pull": true,
}

// nameTails say which secret it is, not what: PASSWORD_PROD, token_2, new-password-confirm.
var nameTails = map[string]bool{
	"prod": true, "production": true, "dev": true, "test": true, "staging": true, "old": true, "new": true, "current": true,
	"previous": true, "default": true, "value": true, "b64": true, "base64": true, "plain": true, "plaintext": true,
	"text": true, "raw": true, "confirm": true, "confirmation": true, "repeat": true, "base": true,
}

// headers may be followed by their value without a blank, as curl and httpie take it.
var headers = map[string]bool{
	"authorization": true, "proxy-authorization": true, "cookie": true, "set-cookie": true, "private-token": true,
	"job-token": true, "deploy-token": true, "api-key": true, "apikey": true,
}

// shape is a token that says itself what it is. It begins where a word does.
type shape struct {
	prefix string
	set    *charset
	min    int // bytes after the prefix
	max    int // 0: any number
	// check, where the form needs more than characters, returns what of it is the
	// secret; an empty span if nothing is.
	check func(token) (from, to int)
}

var (
	base62    = chars("A-Za-z0-9")
	base62_   = chars("A-Za-z0-9_")
	base64url = chars("A-Za-z0-9_-")
	base64std = chars("A-Za-z0-9+/=")
	token68   = chars("A-Za-z0-9._~+/=-") // RFC 7235
	dotted    = chars("A-Za-z0-9_.-")
	upper36   = chars("A-Z0-9")
	hexLower  = chars("a-f0-9")
	crypted   = chars("A-Za-z0-9./$=,+-")
)

var shapes = []shape{
	// JSON web tokens, Kubernetes service accounts' among them: the header begins with
	// {"alg":, {"typ":, {"kid": or another name, and a dot and a payload follow.
	{prefix: "eyJ", set: base64url, min: 8, check: jwt},
	{prefix: "eyJhdXRocyI6", set: base64std, min: 8}, // {"auths": of a registry's config
	{prefix: "eyJhIjoi", set: base64std, min: 40},    // Cloudflare tunnel: {"a":"

	// Cloud keys. The secret that belongs to one is found next to it: see pairs.
	{prefix: "AKIA", set: upper36, min: 16, max: 16, check: accessKey},
	{prefix: "ASIA", set: upper36, min: 16, max: 16, check: accessKey},
	{prefix: "ABIA", set: upper36, min: 16, max: 16, check: accessKey},
	{prefix: "LTAI", set: base62, min: 12, max: 26, check: accessKey},
	{prefix: "STS.", set: base62, min: 16},                                 // Alibaba Cloud, temporary
	{prefix: "AKID", set: base62, min: 32, max: 36},                        // Tencent Cloud
	{prefix: "AIza", set: base64url, min: 35, max: 35},                     // Google API
	{prefix: "ya29.", set: base64url, min: 20},                             // Google OAuth access
	{prefix: "GOCSPX-", set: base64url, min: 24},                           // Google OAuth client
	{prefix: "1//0", set: base64url, min: 30},                              // Google OAuth refresh
	{prefix: "dop_v1_", set: hexLower, min: 64, max: 64},                   // DigitalOcean
	{prefix: "sv=20", set: chars("A-Za-z0-9%&=_.:-"), min: 20, check: sas}, // Azure shared access signature

	// Forges and registries of packages.
	{prefix: "ghp_", set: base62, min: 36}, {prefix: "gho_", set: base62, min: 36}, {prefix: "ghu_", set: base62, min: 36},
	{prefix: "ghs_", set: dotted, min: 36}, {prefix: "ghr_", set: base62, min: 36},
	{prefix: "github_pat_", set: base62_, min: 22},
	{prefix: "glpat-", set: dotted, min: 20}, {prefix: "gldt-", set: base64url, min: 20}, {prefix: "glrt-", set: dotted, min: 20},
	{prefix: "glcbt-", set: dotted, min: 20}, {prefix: "glptt-", set: base64url, min: 20}, {prefix: "glagent-", set: base64url, min: 20},
	{prefix: "glsoat-", set: base64url, min: 20}, {prefix: "glimt-", set: base64url, min: 20}, {prefix: "glft-", set: base64url, min: 20},
	{prefix: "npm_", set: base62, min: 36},
	{prefix: "pypi-", set: base64url, min: 50},
	{prefix: "rubygems_", set: hexLower, min: 48},
	{prefix: "dckr_pat_", set: base64url, min: 20},
	{prefix: "dckr_oat_", set: base64url, min: 20},
	{prefix: "cio", set: base62, min: 32, max: 32, check: mixedCase}, // crates.io

	// Clusters and infrastructure.
	{prefix: "SWMTKN-1-", set: base64url, min: 25},
	{prefix: "K10", set: chars("a-z0-9:."), min: 64, check: k3s},
	{prefix: "hvs.", set: base64url, min: 20}, {prefix: "hvb.", set: base64url, min: 20}, {prefix: "hvr.", set: base64url, min: 20}, // Vault
	{prefix: "tskey-", set: base64url, min: 16},
	{prefix: "dp.pt.", set: base62, min: 40}, {prefix: "dp.st.", set: dotted, min: 40}, // Doppler
	{prefix: "AGE-SECRET-KEY-1", set: upper36, min: 50},
	{prefix: "glsa_", set: base62_, min: 32}, {prefix: "glc_", set: base64std, min: 32}, // Grafana
	{prefix: "sntrys_", set: base64std, min: 40}, {prefix: "NRAK-", set: upper36, min: 27},

	// Services.
	{prefix: "xoxb-", set: base64url, min: 10}, {prefix: "xoxp-", set: base64url, min: 10}, {prefix: "xoxa-", set: base64url, min: 10},
	{prefix: "xoxr-", set: base64url, min: 10}, {prefix: "xoxs-", set: base64url, min: 10}, {prefix: "xoxe.", set: dotted, min: 20}, {prefix: "xoxe-", set: base64url, min: 20},
	{prefix: "xapp-", set: base64url, min: 20},
	{prefix: "hooks.slack.com/services/", set: chars("A-Za-z0-9/_-"), min: 20, check: webhook},
	{prefix: "discord.com/api/webhooks/", set: chars("A-Za-z0-9/_-"), min: 20, check: webhook},
	{prefix: "oapi.dingtalk.com/robot/send?access_token=", set: base62, min: 20, check: webhook},
	{prefix: "sk_live_", set: base62, min: 16}, {prefix: "sk_test_", set: base62, min: 16},
	{prefix: "rk_live_", set: base62, min: 16}, {prefix: "rk_test_", set: base62, min: 16}, {prefix: "whsec_", set: base64std, min: 24},
	{prefix: "sk-proj-", set: base64url, min: 20}, {prefix: "sk-ant-", set: base64url, min: 20}, {prefix: "sk-svcacct-", set: base64url, min: 20},
	{prefix: "hf_", set: base62, min: 30}, {prefix: "SG.", set: dotted, min: 40}, {prefix: "shpat_", set: hexLower, min: 32},

	// Keys as text: PEM, and the base64 forms without it.
	{prefix: "-----BEGIN ", check: pem},
	{prefix: "LS0tLS1CRUdJTi", set: base64std, min: 40, check: pemInBase64}, // -----BEGIN
	{prefix: "b3BlbnNzaC1rZXktdjE", set: base64std, min: 40},                // openssh-key-v1
	{prefix: "PuTTY-User-Key-File-", check: putty},

	// Hashes of passwords: crypt(5), bcrypt, argon2.
	{prefix: "$1$", set: crypted, min: 22}, {prefix: "$5$", set: crypted, min: 22}, {prefix: "$6$", set: crypted, min: 22},
	{prefix: "$y$", set: crypted, min: 22}, {prefix: "$2a$", set: crypted, min: 22}, {prefix: "$2b$", set: crypted, min: 22},
	{prefix: "$2y$", set: crypted, min: 22}, {prefix: "$apr1$", set: crypted, min: 22}, {prefix: "$argon2", set: crypted, min: 22},

	// A line of .netrc: machine host login kim password secret.
	{prefix: "password ", set: chars("!-&(-~"), min: 1, check: netrc},

	// HTTP credentials outside a header.
	{prefix: "Bearer ", set: token68, min: 16, check: bearer}, {prefix: "bearer ", set: token68, min: 16, check: bearer},
	{prefix: "Basic ", set: base64std, min: 4, check: basic}, {prefix: "basic ", set: base64std, min: 4, check: basic},
}

// calls are functions of which one argument is a secret, by its number.
var calls = map[string]int{
	"mysqli_connect": 3, "mysql_connect": 3, "mysqli": 3, "PDO": 3, "ftp_login": 3, "ssh2_auth_password": 3, // PHP
	"auth": 2, "HTTPBasicAuth": 2, "basic_auth": 2, // Python's requests, MongoDB, Ruby
	"define": 2, "setenv": 2, "putenv": 2, // if the first names a secret
}

// pairs is the length of the secret that stands next to an access key id.
var pairs = map[string]int{"AKIA": 40, "ASIA": 40, "ABIA": 40, "LTAI": 30}
