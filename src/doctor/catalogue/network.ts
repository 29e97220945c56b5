/** How registries are reached. */
import type { Entries } from './entry.ts'

export const network = {
  NETWORK_UNSEEN: {
    severity: 'unseen',
    en: {
      title: 'The registry cannot be tried as the engine would reach it',
      meaning: 'What is tried from here goes another way than what the engine sends, so nothing was sent.',
      advice: [
        'Run windlass doctor where the engine is: the evidence says what is in the way here, and from where to ask.',
      ],
    },
    zh: {
      title: '无法以引擎的方式试连仓库',
      meaning: '从这里发出的请求与引擎走的路不同，因此什么也没有发送。',
      advice: ['请在引擎所在之处运行 windlass doctor：证据说明了这里的障碍，以及应从何处询问。'],
    },
  },
  NETWORK_UNTRIED: {
    severity: 'note',
    en: {
      title: 'No registry was named, so none was asked',
      meaning: 'The doctor sends nothing to hosts that nobody named.',
      advice: [
        'windlass doctor --image REF tries the registry of an image as the engine would, --registry HOST a registry alone.',
      ],
    },
    zh: {
      title: '未指定仓库，因此没有询问任何仓库',
      meaning: '医生不会向没有被指定的主机发送任何东西。',
      advice: ['windlass doctor --image 引用 会以引擎的方式试连镜像所在仓库，--registry 主机 只试连仓库。'],
    },
  },
  NAME_UNKNOWN: {
    severity: 'problem',
    en: {
      title: 'The name of the registry, or of the proxy before it, leads to no address',
      meaning:
        'The name servers of the engine answer, and know no such name. The engine fails at once, or after its retries.',
      advice: [
        'Correct the name, or the name servers in /etc/resolv.conf of the engine; a line in /etc/hosts helps meanwhile.',
      ],
    },
    zh: {
      title: '仓库（或其前面的代理）的名称没有对应地址',
      meaning: '引擎使用的域名服务器有应答，但没有这个名称。引擎会立即失败，或在重试后失败。',
      advice: ['更正名称，或更正引擎 /etc/resolv.conf 中的域名服务器；可暂时在 /etc/hosts 中加一行。'],
    },
  },
  NAME_SERVERS_SILENT: {
    severity: 'problem',
    en: {
      title: 'No name server of the engine answers',
      meaning:
        'Every lookup waits for 5 s and more for each server, then fails: a pull hangs before it prints anything.',
      advice: ['Look at the way to these servers (firewall, VPN), and at /etc/resolv.conf of the engine.'],
    },
    zh: {
      title: '引擎的域名服务器都没有应答',
      meaning: '每次解析对每个服务器等待 5 秒以上才失败：拉取在打印任何内容之前就卡住。',
      advice: ['检查到这些服务器的通路（防火墙、VPN）以及引擎的 /etc/resolv.conf。'],
    },
  },
  NAME_SERVER_SILENT: {
    severity: 'warning',
    en: {
      title: 'The first name server of the engine does not answer',
      meaning: 'Every lookup waits 5 s for it before the next one is asked, also in the middle of a pull.',
      advice: ['Remove it from /etc/resolv.conf of the engine, or mend the way to it.'],
    },
    zh: {
      title: '引擎的第一个域名服务器没有应答',
      meaning: '每次解析都要先等它 5 秒才询问下一个，拉取途中也是如此。',
      advice: ['将其从引擎的 /etc/resolv.conf 中移除，或修复到它的通路。'],
    },
  },
  NAME_FOUND: {
    severity: 'ok',
    en: { title: 'name found', meaning: 'The name servers of the engine know the registry.', advice: [] },
    zh: { title: '名称可解析', meaning: '引擎的域名服务器认识该仓库。', advice: [] },
  },
  REGISTRY_UNREACHABLE: {
    severity: 'problem',
    en: {
      title: 'The registry cannot be reached',
      meaning: 'No connection to it, or to the proxy before it, was made as the engine would make it.',
      advice: ['Look at the address, the proxy settings of the engine, the firewall and whether the registry runs.'],
    },
    zh: {
      title: '无法连接仓库',
      meaning: '以引擎的方式无法与它（或其前面的代理）建立连接。',
      advice: ['检查地址、引擎的代理设置、防火墙，以及仓库是否在运行。'],
    },
  },
  REGISTRY_TLS: {
    severity: 'problem',
    en: {
      title: 'No secure connection with the registry',
      meaning:
        'Its certificate is not trusted, is for another name, or has run out, or the registry speaks plain http where https is wanted.',
      advice: [
        'Put the authority of the registry into /etc/docker/certs.d/HOST:PORT/ca.crt of the engine, correct the clock, or let the engine name it as insecure.',
      ],
    },
    zh: {
      title: '无法与仓库建立安全连接',
      meaning: '其证书不受信任、名称不符或已过期，或在需要 https 的地方仓库只提供 http。',
      advice: ['把仓库的 CA 放入引擎的 /etc/docker/certs.d/主机:端口/ca.crt，校正时钟，或在引擎中将其列为不安全仓库。'],
    },
  },
  REGISTRY_SILENT: {
    severity: 'problem',
    en: {
      title: 'The registry takes the request and sends nothing',
      meaning: 'The connection stands, and no byte comes. Engines wait for this for ever.',
      advice: ['Look at the registry and at proxies between; windlass pull asks again by itself.'],
    },
    zh: {
      title: '仓库收下请求却什么也不发',
      meaning: '连接存在，但没有字节到来。引擎会为此永远等待。',
      advice: ['检查仓库以及中间的代理；windlass pull 会自行重新请求。'],
    },
  },
  REGISTRY_STRANGE: {
    severity: 'problem',
    en: {
      title: 'What answers is no registry',
      meaning:
        'The answer does not fit the protocol of registries: a login page of a network, a proxy, or another service on that port.',
      advice: ['Correct the address, or let the proxy pass the registry.'],
    },
    zh: {
      title: '应答者不是镜像仓库',
      meaning: '应答不符合仓库协议：可能是网络登录页、代理，或该端口上的其他服务。',
      advice: ['更正地址，或让代理放行该仓库。'],
    },
  },
  PROXY_INVALID: {
    severity: 'problem',
    en: {
      title: 'The proxy of the engine is no address',
      meaning: 'HTTP_PROXY or HTTPS_PROXY of the running engine cannot be understood.',
      advice: ['Set it to http://host:port, and restart the engine.'],
    },
    zh: {
      title: '引擎的代理设置不是有效地址',
      meaning: '正在运行的引擎的 HTTP_PROXY 或 HTTPS_PROXY 无法理解。',
      advice: ['将其设为 http://主机:端口 并重启引擎。'],
    },
  },
  PROXY_REFUSES: {
    severity: 'problem',
    en: {
      title: 'The proxy of the engine refuses the registry',
      meaning: 'It wants a password, or does not let this host pass.',
      advice: [
        'Put the registry into NO_PROXY of the engine, or let the proxy pass it; a password goes into the address of the proxy.',
      ],
    },
    zh: {
      title: '引擎的代理拒绝访问该仓库',
      meaning: '它需要密码，或不放行该主机。',
      advice: ['把仓库加入引擎的 NO_PROXY，或让代理放行；密码写在代理地址里。'],
    },
  },
  REGISTRY_ANSWERS: {
    severity: 'ok',
    en: { title: 'registry answers', meaning: 'It was reached as the engine would reach it.', advice: [] },
    zh: { title: '仓库有应答', meaning: '以引擎的方式可以连到它。', advice: [] },
  },
  REGISTRY_DENIES: {
    severity: 'problem',
    en: {
      title: 'The registry refuses to give this image',
      meaning: 'Without credentials, or with those of this user, which docker login keeps.',
      advice: ['docker login HOST, as the user who pulls; kubelet and podman keep credentials of their own.'],
    },
    zh: {
      title: '仓库拒绝提供该镜像',
      meaning: '没有凭据，或使用了该用户由 docker login 保存的凭据。',
      advice: ['以执行拉取的用户运行 docker login 主机；kubelet 和 podman 另有各自的凭据。'],
    },
  },
  IMAGE_MISSING: {
    severity: 'problem',
    en: {
      title: 'The registry has no such image',
      meaning: 'No such repository or tag, or none for this kind of processor.',
      advice: ['Correct the name and the tag.'],
    },
    zh: {
      title: '仓库没有该镜像',
      meaning: '没有这个仓库名或标签，或没有适合本机处理器的版本。',
      advice: ['更正名称和标签。'],
    },
  },
  IMAGE_UNREADABLE: {
    severity: 'problem',
    en: {
      title: 'The image cannot be read from the registry',
      meaning: 'The registry answers, but its answer about the image, or a layer of it, is broken.',
      advice: ['Look at the registry’s log; windlass pull REF tells more.'],
    },
    zh: {
      title: '无法从仓库读取该镜像',
      meaning: '仓库有应答，但关于该镜像或其某层的应答是坏的。',
      advice: ['查看仓库日志；windlass pull 引用 会给出更多信息。'],
    },
  },
  IMAGE_READABLE: {
    severity: 'ok',
    en: { title: 'image readable', meaning: 'Its manifest was read.', advice: [] },
    zh: { title: '镜像可读', meaning: '已读取其清单。', advice: [] },
  },
  REGISTRY_SLOW: {
    severity: 'warning',
    en: {
      title: 'Layers come slowly',
      meaning:
        'Less than 64 KiB a second: a layer of 100 MB takes half an hour and more. It looks like a hang, and is none.',
      advice: ['Look at the network between and at the load of the registry; a mirror nearby helps.'],
    },
    zh: {
      title: '层的下载很慢',
      meaning: '每秒不到 64 KiB：100 MB 的层要半小时以上。看起来像卡住，其实不是。',
      advice: ['检查中间网络和仓库负载；就近的镜像站会有帮助。'],
    },
  },
  REGISTRY_SPEED: {
    severity: 'ok',
    en: { title: 'layers come', meaning: 'The beginning of a layer was read.', advice: [] },
    zh: { title: '层可下载', meaning: '已读取一层的开头。', advice: [] },
  },
  REGISTRY_WITHOUT_RANGES: {
    severity: 'warning',
    en: {
      title: 'The registry does not give parts of a layer',
      meaning: 'A download that breaks off begins anew, and containerd 2.1.0 to 2.1.4 hang with such registries.',
      advice: [
        'Mend the registry or the proxy before it (Range requests); for containerd 2.1 set concurrent_layer_fetch_buffer to 0, or upgrade.',
      ],
    },
    zh: {
      title: '仓库不支持只取层的一部分',
      meaning: '中断的下载要从头开始；containerd 2.1.0 至 2.1.4 遇到这种仓库会卡住。',
      advice: [
        '修复仓库或其前面的代理（Range 请求）；containerd 2.1 可将 concurrent_layer_fetch_buffer 设为 0，或升级。',
      ],
    },
  },
  MTU_BLACK_HOLE: {
    severity: 'problem',
    en: {
      title: 'Large packets to or from the registry vanish on the way',
      meaning:
        'The path takes smaller packets than this host sends, and the message that says so is dropped (ICMP). Small requests pass, TLS handshakes and layers stand still for ever.',
      advice: [
        'Lower the MTU of the interface that leads there (ip link set DEV mtu 1400), or clamp the MSS on the router.',
        'Let ICMP "fragmentation needed" (IPv6: "packet too big") pass the firewalls between.',
        'sysctl net.ipv4.tcp_mtu_probing=1 lets the kernel find the size by itself.',
      ],
    },
    zh: {
      title: '与仓库之间的大数据包在途中消失',
      meaning: '路径允许的包比本机发送的小，而告知此事的 ICMP 消息被丢弃。小请求能通过，TLS 握手和层的下载永远停住。',
      advice: [
        '降低通往那里的网卡 MTU（ip link set 设备 mtu 1400），或在路由器上钳制 MSS。',
        '让中间防火墙放行 ICMP "需要分片"（IPv6："数据包过大"）。',
        'sysctl net.ipv4.tcp_mtu_probing=1 可让内核自行探测大小。',
      ],
    },
  },
  IPV6_BLACK_HOLE: {
    severity: 'warning',
    en: {
      title: 'The registry has an IPv6 address that does not answer, and an IPv4 address that does',
      meaning:
        'What is sent over IPv6 vanishes. Whoever tries that address first waits for it: seconds with each connection, and for ever where a program knows no other.',
      advice: [
        'Mend the IPv6 route of this host, or take it away (sysctl net.ipv6.conf.all.disable_ipv6=1), so that nobody tries it.',
        'Let IPv4 come first: "precedence ::ffff:0:0/96 100" in /etc/gai.conf, for programs that use the C library.',
      ],
    },
    zh: {
      title: '仓库的 IPv6 地址没有应答，而 IPv4 地址有应答',
      meaning: '经 IPv6 发出的数据消失。先尝试该地址的程序要等待它：每个连接几秒；若程序不知道别的地址则永远等待。',
      advice: [
        '修复本机的 IPv6 路由，或将其关闭（sysctl net.ipv6.conf.all.disable_ipv6=1），使程序不再尝试。',
        '让 IPv4 优先：对使用 C 库的程序，在 /etc/gai.conf 中写入 "precedence ::ffff:0:0/96 100"。',
      ],
    },
  },
  CREDENTIAL_HELPER_SILENT: {
    severity: 'problem',
    en: {
      title: 'The program that gives the credentials does not answer',
      meaning:
        'credHelpers or credsStore of the configuration (~/.docker/config.json, auth.json) names a program, which waits for a keyring, a pinentry or a network. The client waits for it before it prints anything.',
      advice: [
        'Unlock what it waits for, or end it: the client goes on without credentials, or says what is missing.',
        'Take credsStore or credHelpers out of the configuration, and log in again.',
      ],
    },
    zh: {
      title: '提供凭据的程序没有应答',
      meaning:
        '配置（~/.docker/config.json、auth.json）的 credHelpers 或 credsStore 指定了一个程序，它在等待密钥环、pinentry 或网络。客户端在打印任何内容之前就在等它。',
      advice: [
        '解锁它所等待的东西，或结束它：客户端会在没有凭据的情况下继续，或说明缺少什么。',
        '从配置中去掉 credsStore 或 credHelpers，然后重新登录。',
      ],
    },
  },
  CREDENTIALS_UNREADABLE: {
    severity: 'warning',
    en: {
      title: 'The credentials for the registry cannot be read',
      meaning: 'The configuration of this user is broken, or the program that it names for credentials fails.',
      advice: ['See the evidence; docker login HOST writes it anew.'],
    },
    zh: {
      title: '无法读取该仓库的凭据',
      meaning: '该用户的配置已损坏，或其指定的凭据程序失败。',
      advice: ['见证据；docker login 主机 会重新写入。'],
    },
  },
  CONNECTION_UNANSWERED: {
    severity: 'warning',
    en: {
      title: 'What the engine sends is not acknowledged',
      meaning:
        'The kernel sends the same bytes of a connection again and again. The other side is gone, or something between drops the packets.',
      advice: ['Look at that host, the firewall and the MTU between; windlass doctor --registry HOST tells the last.'],
    },
    zh: {
      title: '引擎发送的数据没有被确认',
      meaning: '内核一再重发某个连接的同一批字节。对端已消失，或中间有东西丢弃了数据包。',
      advice: ['检查该主机、防火墙和中间的 MTU；windlass doctor --registry 主机 可判断后者。'],
    },
  },
  CLOCK_SKEWED: {
    severity: 'warning',
    en: {
      title: 'The clock of this host and that of the registry differ',
      meaning: 'By more than a minute. Tokens and certificates are refused as not yet or no longer valid.',
      advice: ['Set the wrong one right, and keep it so (chrony, systemd-timesyncd).'],
    },
    zh: {
      title: '本机与仓库的时钟不一致',
      meaning: '相差超过一分钟。令牌和证书会因尚未生效或已过期而被拒绝。',
      advice: ['校正有误的一方并保持同步（chrony、systemd-timesyncd）。'],
    },
  },
} as const satisfies Entries
