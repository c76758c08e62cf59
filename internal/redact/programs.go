package redact

// part says which part of an argument is the secret.
type part uint8

const (
	none         part = iota
	whole             // all of it
	keyValue          // all of it, but if it is a path
	afterColon        // user:secret
	afterPercent      // user%secret
	afterComma        // user,secret
	afterEquals       // name=secret
	afterSlash        // user/secret@database
	afterPass         // pass:secret; env:, file: and fd: name places
	userinfo          // user:secret@host
	pairList          // name=secret; name=secret. Without a = it is a file
)

// take says where an option's value stands.
type take uint8

const (
	next     take = 1 << iota // -p secret
	attached                  // -psecret
	both     = next | attached
)

// option is an option whose value is a secret, though its name does not say so.
type option struct {
	name string
	take take
	part part
}

// operand is a secret without an option: the words after a certain word.
type operand struct {
	after string // "": the program
	skip  int    // words in between that are none
	part  part
	rest  bool // not only one word, but all that follow: options may stand between them
}

// program is what is known of a program's arguments. Options with names that say
// enough (--password) need no entry.
type program struct {
	names   []string
	options []option
	// gate is a word that has to come before the options mean this: docker login -p.
	gate     string
	operands []operand
	// bundles: single letters may be written together, the last takes the value.
	bundles bool
	// plain are options that only look like secrets, or whose value is never the next word.
	plain []string
	// pairs: behind one of these, a bare word that names a secret is followed by it:
	// aws configure set NAME VALUE.
	pairs []string
	// runs: the program runs another one, after options of its own: the next name that is
	// known here is the program. launches: the same, but a word behind an option is
	// rather its value (docker run --name mysql).
	runs, launches bool
	// evaluates: -e and -r take program text, not assignments.
	evaluates bool
	// pipe: it takes a secret from its input if that word is there; "": always.
	pipe     []string
	pipePart part
}

var programs = []program{
	// Programs that run others: the next known name is the program.
	{names: []string{"sudo", "doas"}, runs: true, pipe: []string{"-S"}, pipePart: whole},
	{names: []string{"env", "nohup", "timeout", "nice", "ionice", "exec", "time", "xargs", "setsid", "stdbuf", "strace", "chroot",
		"nsenter", "unshare", "busybox", "toybox", "command", "watch", "setpriv", "su", "runuser", "chpst", "gosu", "su-exec", "tini", "dumb-init"}, runs: true},
	{names: []string{"perl", "ruby", "php", "node", "nodejs", "bun", "deno", "lua"}, runs: true, evaluates: true},
	{names: []string{"sh", "bash", "dash", "ash", "zsh", "ksh", "fish", "python", "python2", "python3", "java"}, runs: true},

	// Databases.
	{names: []string{"mysql", "mysqldump", "mysqlimport", "mysqlshow", "mysqlcheck", "mysqlpump", "mysqlslap", "mysqlbinlog",
		"mariadb", "mariadb-dump", "mariadb-import", "mariadb-show", "mariadb-check", "mariadb-backup", "mariabackup", "xtrabackup"},
		options: []option{{"-p", attached, whole}}, plain: []string{"--password"}},
	{names: []string{"mysqladmin", "mariadb-admin"}, options: []option{{"-p", attached, whole}}, plain: []string{"--password"},
		operands: []operand{{"password", 0, whole, true}}},
	{names: []string{"mycli", "mydumper", "myloader", "mongo", "mongosh", "mongodump", "mongorestore", "mongoexport", "mongoimport", "mongostat", "mongotop", "mongofiles",
		"cqlsh", "rabbitmqadmin", "influx"}, options: []option{{"-p", both, whole}}},
	{names: []string{"redis-cli", "valkey-cli", "keydb-cli"}, options: []option{{"-a", next, whole}}, pairs: []string{"set"}, operands: []operand{{"auth", 0, whole, true}}},
	{names: []string{"sqlcmd", "bcp", "osql", "isql", "tsql"}, options: []option{{"-P", both, whole}}},
	{names: []string{"sqlplus", "sqlldr", "expdp", "impdp", "exp", "imp", "rman"}, operands: []operand{{"", 0, afterSlash, true}}},
	{names: []string{"rabbitmqctl"}, operands: []operand{{"add_user", 1, whole, false}, {"change_password", 1, whole, false}, {"authenticate_user", 1, whole, false}}},
	{names: []string{"etcdctl"}, options: []option{{"--user", both, afterColon}}},

	// Directories, file shares, remote hosts.
	{names: []string{"ldapsearch", "ldapadd", "ldapmodify", "ldapdelete", "ldapmodrdn", "ldapcompare", "ldapwhoami", "ldapexop"}, options: []option{{"-w", both, whole}}},
	{names: []string{"ldappasswd"}, options: []option{{"-w", both, whole}, {"-s", both, whole}, {"-a", both, whole}}},
	{names: []string{"smbclient", "rpcclient", "smbget", "smbcacls", "smbtree", "net", "winexe", "wmic", "nmblookup"}, options: []option{{"-U", both, afterPercent}, {"--user", both, afterPercent}}},
	{names: []string{"sshpass"}, options: []option{{"-p", both, whole}}, runs: true},
	{names: []string{"plink", "pscp", "psftp"}, options: []option{{"-pw", next, whole}}},
	{names: []string{"lftp"}, options: []option{{"-u", both, afterComma}}},
	{names: []string{"ncftp", "ncftpget", "ncftpput", "rdesktop", "smbmap", "medusa", "hydra", "evil-winrm", "crackmapexec", "netexec", "nxc"},
		options: []option{{"-p", both, whole}}},
	{names: []string{"secretsdump", "psexec", "wmiexec", "smbexec", "atexec", "dcomexec", "mssqlclient", "GetUserSPNs", "GetNPUsers", "getTGT", "lookupsid", "samrdump"},
		options: []option{{"-hashes", next, afterColon}}, operands: []operand{{"", 0, userinfo, true}}},
	{names: []string{"xfreerdp", "xfreerdp3"}, options: []option{{"/p:", attached, whole}}},
	{names: []string{"snmpwalk", "snmpget", "snmpset", "snmpbulkwalk", "snmpgetnext", "snmptrap"}, options: []option{{"-c", both, whole}, {"-A", both, whole}, {"-X", both, whole}}},
	{names: []string{"ipmitool"}, options: []option{{"-P", both, whole}}},
	{names: []string{"mosquitto_pub", "mosquitto_sub", "mosquitto_rr"}, options: []option{{"-P", next, whole}}}, //nolint:misspell // that is its name

	// HTTP.
	{names: []string{"curl"}, bundles: true, options: []option{{"-u", both, afterColon}, {"-U", both, afterColon}, {"--user", both, afterColon},
		{"--proxy-user", both, afterColon}, {"-b", both, pairList}, {"--cookie", both, pairList}, {"-E", both, afterColon}, {"--cert", both, afterColon},
		{"--tlspassword", next, whole}, {"-x", both, userinfo}, {"--proxy", both, userinfo}}},
	{names: []string{"http", "https", "xh", "xhs"}, options: []option{{"-a", both, afterColon}, {"--auth", both, afterColon}}},
	{names: []string{"ab", "wrk", "hey"}, options: []option{{"-A", next, afterColon}, {"-a", next, afterColon}, {"-C", next, pairList}}},

	// Containers, clusters, clouds.
	{names: []string{"docker", "podman", "nerdctl", "buildah", "skopeo", "crane", "oras", "regctl", "helm", "oc", "az", "cloudctl", "argocd"}, launches: true, gate: "login",
		options: []option{{"-p", both, whole}}, plain: []string{"--secret", "--pull-secret"}, pipe: []string{"--password-stdin", "--token-stdin"}, pipePart: whole},
	{names: []string{"ctr", "crictl"}, launches: true, options: []option{{"-u", both, afterColon}, {"--user", both, afterColon}}},
	{names: []string{"kubectl", "k"}, launches: true, gate: "secret", options: []option{{"--from-literal", both, afterEquals}}},
	{names: []string{"aws", "aliyun", "gcloud", "rclone", "npm", "yarn", "pnpm", "poetry", "composer", "nmcli", "git", "pip"},
		pairs: []string{"set", "create", "update", "config", "add", "modify", "connect"}},
	{names: []string{"gh"}, gate: "secret", options: []option{{"--body", both, whole}, {"-b", both, whole}}, pipe: []string{"--with-token"}, pipePart: whole},
	{names: []string{"ngrok"}, operands: []operand{{"authtoken", 0, whole, true}, {"add-authtoken", 0, whole, true}}},
	{names: []string{"doctl"}, options: []option{{"-t", next, whole}}},
	{names: []string{"ossutil", "ossutil64"}, options: []option{{"-k", both, whole}}},
	{names: []string{"mc", "mcli"}, operands: []operand{{"set", 3, whole, false}, {"add", 3, whole, false}}},
	{names: []string{"vault"}, operands: []operand{{"login", 0, whole, true}, {"unseal", 0, whole, true}, {"unwrap", 0, whole, true}}},
	{names: []string{"snyk"}, operands: []operand{{"auth", 0, whole, true}}},

	// Archives and cryptography.
	{names: []string{"7z", "7za", "7zr", "7zz", "p7zip"}, options: []option{{"-p", attached, whole}}},
	{names: []string{"rar", "unrar"}, options: []option{{"-p", attached, whole}, {"-hp", attached, whole}}},
	{names: []string{"zip", "unzip", "zipcloak", "zipinfo"}, bundles: true, options: []option{{"-P", both, whole}}},
	{names: []string{"openssl"}, options: []option{{"-passin", next, afterPass}, {"-passout", next, afterPass}, {"-pass", next, afterPass}, {"-password", next, afterPass},
		{"-k", next, whole}, {"-K", next, whole}, {"-hmac", next, whole}, {"-psk", next, whole}}, operands: []operand{{"passwd", 0, whole, true}}},
	{names: []string{"gpg", "gpg2"}, pipe: []string{"--passphrase-fd"}, pipePart: whole},
	{names: []string{"ssh-keygen"}, options: []option{{"-N", next, whole}, {"-P", next, whole}}},
	{names: []string{"cryptsetup"}, pipe: []string{""}, pipePart: whole},
	{names: []string{"ansible-vault"}, operands: []operand{{"encrypt_string", 0, whole, true}}},
	{names: []string{"twine", "ftp"}, options: []option{{"-p", next, whole}}},

	// Users.
	{names: []string{"useradd", "usermod", "groupadd", "groupmod"}, options: []option{{"-p", next, whole}}},
	{names: []string{"htpasswd"}, operands: []operand{{"", 1, whole, true}}},
	{names: []string{"wpa_passphrase"}, operands: []operand{{"", 1, whole, false}}},
	{names: []string{"chpasswd"}, pipe: []string{""}, pipePart: afterColon},
	{names: []string{"passwd"}, pipe: []string{""}, pipePart: whole},
}

var programsByName = indexPrograms()

func indexPrograms() map[string]*program {
	index := make(map[string]*program, 4*len(programs))
	for i := range programs {
		for _, name := range programs[i].names {
			index[name] = &programs[i]
		}
	}
	return index
}
