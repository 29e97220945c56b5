/** The host beside its engines. */
import type { Entries } from './entry.ts'

export const host = {
  ENTROPY_LOW: {
    severity: 'warning',
    en: {
      title: 'The kernel has hardly any entropy',
      meaning: 'Before Linux 5.6 a program that asks for random numbers may wait for minutes, TLS first of all.',
      advice: ['Install haveged or rng-tools, or give the virtual machine virtio-rng.'],
    },
    zh: {
      title: '内核的熵几乎耗尽',
      meaning: '在 Linux 5.6 之前，请求随机数的程序可能等待数分钟，首先是 TLS。',
      advice: ['安装 haveged 或 rng-tools，或为虚拟机配置 virtio-rng。'],
    },
  },
  KERNEL_KNOWN_FAULT: {
    severity: 'warning',
    en: {
      title: 'This kernel is known to hang with the filesystem under the data root',
      meaning:
        'From Linux 5.15.63 to 5.15.86 ext4 and its journal may wait for each other under load; every writer on that disk then sleeps out of reach, an unpack first of all. Only a restart of the host ends it.',
      advice: ['Upgrade the kernel (5.15.87 mends it), and restart the host.'],
    },
    zh: {
      title: '已知此内核会在数据目录所在的文件系统上挂起',
      meaning:
        '在 Linux 5.15.63 至 5.15.86 上，ext4 与其日志可能在高负载下互相等待；该磁盘上的所有写入者都会进入无法唤醒的睡眠，首先是解包。只有重启主机才能结束。',
      advice: ['升级内核（5.15.87 已修复）并重启主机。'],
    },
  },
  HUNG_TASKS: {
    severity: 'warning',
    en: {
      title: 'The kernel complains about tasks that it has held for minutes',
      meaning:
        'Its log names tasks that slept out of reach of signals for two minutes or longer within the last ten: a disk, a journal or a server of files did not answer them. A pull whose task is among them stands still until it does.',
      advice: [
        'dmesg shows where each of them waits; look at the disk and the filesystem that it names.',
        'cat /proc/PID/stack shows whether it still does.',
      ],
    },
    zh: {
      title: '内核报告有任务被阻塞了数分钟',
      meaning:
        '内核日志在最近十分钟内列出了处于无法唤醒的睡眠达两分钟以上的任务：磁盘、日志或文件服务器没有应答它们。若其中有拉取的任务，该拉取会一直停滞到有应答为止。',
      advice: [
        'dmesg 显示每个任务在哪里等待；检查其中的磁盘和文件系统。',
        'cat /proc/PID/stack 可查看它是否仍在等待。',
      ],
    },
  },
  CLOCK_WRONG: {
    severity: 'problem',
    en: {
      title: 'The clock of this host is wrong',
      meaning: 'It shows a time before this program was made. Certificates and tokens of registries will be refused.',
      advice: ['Set the clock, and keep it right (chrony, systemd-timesyncd).'],
    },
    zh: {
      title: '本机时钟错误',
      meaning: '显示的时间早于本程序的制作时间。仓库的证书和令牌会被拒绝。',
      advice: ['校正时钟并保持同步（chrony、systemd-timesyncd）。'],
    },
  },
  HOST_FINE: {
    severity: 'ok',
    en: { title: 'clock and entropy are right', meaning: 'Nothing is wrong with them.', advice: [] },
    zh: { title: '时钟与熵正常', meaning: '没有问题。', advice: [] },
  },
  CHECK_UNFINISHED: {
    severity: 'unseen',
    en: {
      title: 'A check did not come to its end',
      meaning: 'It was given up in time, or failed in a way that nobody foresaw. Nothing is concluded from it.',
      advice: ['See the evidence; --bundle keeps it for a report.'],
    },
    zh: {
      title: '有一项检查没有完成',
      meaning: '已及时放弃，或以未预料的方式失败。不据此得出任何结论。',
      advice: ['见证据；--bundle 可保存用于报告。'],
    },
  },
  PROCESS_MEMORY_HELD: {
    severity: 'warning',
    en: {
      title: 'The kernel does not tell about a process: whoever asks hangs',
      meaning:
        'The kernel takes a lock of a process to tell its command line, environment, system calls and counts of bytes, and fetches pages from wherever they lie. A thread that hangs with such a lock (as it gives back memory, or starts a program and closes its files), or a page on a filesystem that does not answer, holds up ps, top and every tool that looks there; the doctor leaves it out.',
      advice: [
        'Look at the filesystem under its program, its mapped and its open files (network, FUSE), and at its threads in state D.',
        'Do without ps -f, pgrep -f, pidof and top on this host until it is gone: they hang there, too.',
      ],
    },
    zh: {
      title: '内核不给出某进程的信息：询问者都会卡住',
      meaning:
        '内核给出进程的命令行、环境变量、系统调用和读写字节数时要取得该进程的锁，并从页面所在之处取页。持有该锁而挂起的线程（在归还内存，或启动程序并关闭文件时），或位于无应答文件系统上的页面，会卡住 ps、top 以及所有读取它的工具；医生已跳过它。',
      advice: [
        '检查其程序、映射文件和打开的文件所在的文件系统（网络、FUSE），以及其处于 D 状态的线程。',
        '在它消失之前，不要在本机使用 ps -f、pgrep -f、pidof 和 top：它们同样会卡住。',
      ],
    },
  },
} as const satisfies Entries
