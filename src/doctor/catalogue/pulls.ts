/** What pulls do, and who holds them up. */
import { slowDecompressor, stuckDecompressor } from './advice.ts'
import type { Entries } from './entry.ts'

export const pulls = {
  DECOMPRESSOR_SPINS: {
    severity: 'problem',
    en: {
      title: 'The decompressor spins: it burns a processor and moves nothing',
      meaning:
        'It has input and room for its output, uses processor time in its own code, and neither reads nor writes. The engine and its untar wait for it without an end. Ending the client does not help: the decompressor stays, and later pulls of the layer wait for it, too.',
      advice: stuckDecompressor.en,
    },
    zh: {
      title: '解压程序空转：占用处理器但没有任何数据进展',
      meaning:
        '它有输入，输出也有空间，在自身代码中消耗处理器时间，却既不读也不写。引擎及其 untar 会无限期等待它。结束客户端没有用：解压程序仍然存在，之后对该层的拉取同样会等待它。',
      advice: stuckDecompressor.zh,
    },
  },
  DECOMPRESSOR_SPINS_IN_KERNEL: {
    severity: 'problem',
    en: {
      title: 'The decompressor spins in the kernel and moves nothing',
      meaning:
        'It has input and room, uses processor time inside system calls, and no byte moves. A kernel or a security module that it calls into does not let go of it.',
      advice: [
        'Keep the kernel stacks of its threads (/proc/PID/task/*/stack) for the vendor.',
        ...stuckDecompressor.en,
      ],
    },
    zh: {
      title: '解压程序在内核中空转，没有任何数据进展',
      meaning: '它有输入也有空间，在系统调用内消耗处理器时间，却没有字节移动。是它所调用的内核或安全模块没有放行。',
      advice: ['为厂商保留其各线程的内核栈（/proc/PID/task/*/stack）。', ...stuckDecompressor.zh],
    },
  },
  DECOMPRESSOR_DEADLOCKED: {
    severity: 'problem',
    en: {
      title: 'The decompressor is deadlocked: all its threads wait for each other',
      meaning:
        'Every thread sleeps in futex, none reads, writes or computes, although there is input and room. A wake-up was lost between its threads: a fault of the program, its libraries or the processor’s memory order.',
      advice: stuckDecompressor.en,
    },
    zh: {
      title: '解压程序死锁：所有线程互相等待',
      meaning:
        '所有线程都在 futex 中睡眠，没有线程在读、写或计算，尽管有输入也有空间。线程之间丢失了一次唤醒：是该程序、其库或处理器内存序的缺陷。',
      advice: stuckDecompressor.zh,
    },
  },
  DECOMPRESSOR_ASLEEP: {
    severity: 'problem',
    en: {
      title: 'The decompressor sleeps although it has input and room',
      meaning:
        'No thread reads its input, writes its output or computes. It waits for something that no pipe of this pull gives it.',
      advice: stuckDecompressor.en,
    },
    zh: {
      title: '解压程序在睡眠，尽管有输入也有空间',
      meaning: '没有线程在读取输入、写入输出或计算。它在等待这条拉取管道之外的东西。',
      advice: stuckDecompressor.zh,
    },
  },
  DECOMPRESSOR_STOPPED: {
    severity: 'problem',
    en: {
      title: 'The decompressor is stopped by a signal or a debugger',
      meaning: 'State T (SIGSTOP, SIGTSTP) or t (a tracer such as strace or gdb). It goes on as soon as it is let.',
      advice: [
        'kill -CONT PID lets it go on, and the pull with it; if a tracer holds it, end the tracer.',
        ...stuckDecompressor.en,
      ],
    },
    zh: {
      title: '解压程序被信号或调试器停住',
      meaning: '状态 T（SIGSTOP、SIGTSTP）或 t（strace、gdb 等跟踪程序）。一旦放行就会继续。',
      advice: ['kill -CONT PID 可让它连同拉取一起继续；若被跟踪程序持有，请结束该跟踪程序。', ...stuckDecompressor.zh],
    },
  },
  DECOMPRESSOR_CLOSED_OUTPUT: {
    severity: 'problem',
    en: {
      title: 'The decompressor has closed its output and does not end',
      meaning: 'The engine has seen the end of its output and waits for the process, which lives on and does nothing.',
      advice: stuckDecompressor.en,
    },
    zh: {
      title: '解压程序已关闭输出却不退出',
      meaning: '引擎已看到其输出结束，正在等待该进程退出，而它仍然存活且什么也不做。',
      advice: stuckDecompressor.zh,
    },
  },
  DECOMPRESSOR_DRIBBLES: {
    severity: 'problem',
    en: {
      title: 'The decompressor moves so few bytes that the pull will not end',
      meaning:
        'It had input and room all the time, and moved less than the slowest healthy one by a factor of a thousand.',
      advice: slowDecompressor.en,
    },
    zh: {
      title: '解压程序移动的字节太少，拉取不会结束',
      meaning: '它一直有输入和空间，速度却比最慢的正常程序还低一千倍。',
      advice: slowDecompressor.zh,
    },
  },
  UNTAR_STOPPED: {
    severity: 'problem',
    en: {
      title: 'The process that unpacks is stopped by a signal or a debugger',
      meaning: 'The decompressor before it only waits for room; it is not to blame.',
      advice: ['kill -CONT PID lets it go on, and the pull with it.'],
    },
    zh: {
      title: '负责解包的进程被信号或调试器停住',
      meaning: '前面的解压程序只是在等待空间，不应归咎于它。',
      advice: ['kill -CONT PID 可让它连同拉取一起继续。'],
    },
  },
  UNTAR_STUCK: {
    severity: 'problem',
    en: {
      title: 'The process that unpacks does not take its input',
      meaning: 'There is input for it, it does not wait for a disk, and it moves nothing.',
      advice: [
        'Keep the evidence (--bundle), then end this process: the engine reports an error, and the layer can be pulled again.',
      ],
    },
    zh: {
      title: '负责解包的进程不读取输入',
      meaning: '它有输入，也不在等待磁盘，却没有任何进展。',
      advice: ['先保留证据（--bundle），再结束该进程：引擎会报错，之后可以重新拉取该层。'],
    },
  },
  ENGINE_STOPPED: {
    severity: 'problem',
    en: {
      title: 'The engine itself is stopped by a signal or a debugger',
      meaning: 'Nothing that it manages can go on, and no client gets an answer.',
      advice: ['kill -CONT PID lets it go on; if a tracer holds it, end the tracer.'],
    },
    zh: {
      title: '引擎本身被信号或调试器停住',
      meaning: '它管理的一切都无法继续，客户端也得不到应答。',
      advice: ['kill -CONT PID 可让它继续；若被跟踪程序持有，请结束该跟踪程序。'],
    },
  },
  CLIENT_STOPPED: {
    severity: 'problem',
    en: {
      title: 'The client that downloads a layer for the engine is stopped by a signal',
      meaning:
        'ctr, nerdctl and a dockerd that keeps its images in containerd download by themselves, and hand on what comes. The registry has sent, and this process does not read it.',
      advice: ['kill -CONT PID lets it go on, and the pull with it.'],
    },
    zh: {
      title: '为引擎下载层的客户端被信号停住',
      meaning:
        'ctr、nerdctl 以及把镜像存放在 containerd 中的 dockerd 自己下载，再把数据交给引擎。镜像仓库已发送数据，而该进程没有读取。',
      advice: ['kill -CONT PID 可让它继续，拉取也随之继续。'],
    },
  },
  ENGINE_DOES_NOT_FEED: {
    severity: 'problem',
    en: {
      title: 'The decompressor waits for compressed bytes that the engine does not hand to it',
      meaning:
        'The decompressor is innocent: it sleeps in a read of an empty pipe that somebody still holds open. The engine waits for its own source: the network, where it decompresses while it downloads, or the disk with the downloaded layer.',
      advice: ['Look at the engine’s network and disk: the other findings, windlass doctor -v.'],
    },
    zh: {
      title: '解压程序在等待压缩数据，而引擎没有提供',
      meaning:
        '解压程序是无辜的：它在读取一个仍被打开的空管道。引擎在等待自己的来源：边下载边解压时是网络，否则是存放已下载层的磁盘。',
      advice: ['检查引擎的网络和磁盘：参见其他结论，windlass doctor -v。'],
    },
  },
  ENGINE_DOES_NOT_PASS_ON: {
    severity: 'problem',
    en: {
      title: 'The engine does not pass on what the decompressor gives it',
      meaning:
        'Bytes wait in the pipe from the decompressor, the process that unpacks has room, and the engine between them moves nothing.',
      advice: ['Keep a dump of its goroutines (--bundle) for the vendor; a restart of the engine ends the standstill.'],
    },
    zh: {
      title: '引擎没有转交解压程序给出的数据',
      meaning: '来自解压程序的管道里有数据，解包进程有空间，而中间的引擎没有任何移动。',
      advice: ['为厂商保留其 goroutine 转储（--bundle）；重启引擎可结束停滞。'],
    },
  },
  ENGINE_DOES_NOT_UNPACK: {
    severity: 'problem',
    en: {
      title: 'The engine does not take what the decompressor gives it',
      meaning: 'This engine unpacks in a thread of its own. Decompressed bytes wait for it, and it takes none.',
      advice: ['Keep a dump of its goroutines (--bundle) for the vendor; a restart of the engine ends the standstill.'],
    },
    zh: {
      title: '引擎没有取走解压程序给出的数据',
      meaning: '该引擎在自身线程中解包。解压后的数据在等待它，它却一个字节也不取。',
      advice: ['为厂商保留其 goroutine 转储（--bundle）；重启引擎可结束停滞。'],
    },
  },
  DISK_WAIT: {
    severity: 'problem',
    en: {
      title: 'The pull waits for a disk or a filesystem that does not answer',
      meaning:
        'A task of it sleeps in the kernel in state D, where no signal reaches it, in a function that waits for a disk or its filesystem, and in that time the disk answered nobody. Nobody can kill it; the disk has to answer. A disk that spins up or tidies up may be as silent for a while.',
      advice: [
        'Look at dmesg, at the device and at the mount under the data root; a dead network filesystem may be unmounted with umount -f -l.',
      ],
    },
    zh: {
      title: '拉取在等待没有应答的磁盘或文件系统',
      meaning:
        '它的一个任务以 D 状态睡在内核中等待磁盘或其文件系统，信号无法到达，而这段时间磁盘没有应答任何请求。谁也无法杀死它，只能等磁盘应答。正在启动或整理的磁盘也可能暂时如此。',
      advice: ['查看 dmesg、数据目录所在的设备和挂载；失效的网络文件系统可用 umount -f -l 卸载。'],
    },
  },
  DISK_BUSY: {
    severity: 'note',
    en: {
      title: 'A process of the pull waits for a disk that answers: slow, not stuck',
      meaning:
        'A task of it has slept in the kernel for the disk or its filesystem as long as it was looked at, while the disk came to the end of other requests.',
      advice: ['Wait, and look again; a faster disk, fewer pulls at a time, or fewer others on that disk help.'],
    },
    zh: {
      title: '拉取的一个进程在等待磁盘，而磁盘仍在应答：慢，而非卡住',
      meaning: '观察期间它的一个任务一直睡在内核中等待磁盘或其文件系统，而磁盘在此期间完成了其他请求。',
      advice: ['等待后再看；更快的磁盘、更少的并发拉取或减少该磁盘上的其他负载会有帮助。'],
    },
  },
  KERNEL_WAIT: {
    severity: 'warning',
    en: {
      title: 'A process of the pull waits in the kernel, and for what is not known',
      meaning:
        'A task of it sleeps in state D, where no signal reaches it, in a function of the kernel that says nothing of disks, agents, control groups or servers. It may be slow or stuck; no cause is guessed.',
      advice: [
        'Look again in a minute. If it stays so, keep /proc/PID/task/*/stack and dmesg for whoever maintains the kernel, and --bundle.',
      ],
    },
    zh: {
      title: '拉取的一个进程在内核中等待，等待什么未知',
      meaning:
        '它的一个任务以 D 状态睡眠，信号无法到达，所在的内核函数不能说明与磁盘、代理、控制组或服务器有关。可能是慢，也可能是卡住；这里不作猜测。',
      advice: ['一分钟后再看。若仍如此，请为内核维护者保留 /proc/PID/task/*/stack、dmesg 和 --bundle。'],
    },
  },
  FILESYSTEM_FROZEN: {
    severity: 'problem',
    en: {
      title: 'The filesystem that the pull writes to is frozen',
      meaning:
        'Somebody has frozen it (fsfreeze, a snapshot of the virtual machine or of the volume) and has not thawed it.',
      advice: ['fsfreeze -u MOUNTPOINT thaws it, and the pull goes on; find out which backup or snapshot left it so.'],
    },
    zh: {
      title: '拉取所写入的文件系统被冻结',
      meaning: '有人冻结了它（fsfreeze、虚拟机或卷的快照）而没有解冻。',
      advice: ['fsfreeze -u 挂载点 可解冻，拉取随之继续；请查明是哪个备份或快照留下的。'],
    },
  },
  FANOTIFY_WAIT: {
    severity: 'problem',
    en: {
      title: 'The pull waits for a security agent that does not answer',
      meaning:
        'A program on this host has asked to permit each access to files (fanotify) and leaves a question of this pull without an answer. All such accesses on the host wait, not only this one.',
      advice: [
        'Exclude the data root of the engine in the agent, or restart the agent: when it ends, the kernel lets all waiters go.',
      ],
    },
    zh: {
      title: '拉取在等待没有应答的安全代理程序',
      meaning:
        '本机有程序要求逐次许可文件访问（fanotify），却没有回答这次拉取的请求。全机此类访问都在等待，不止这一个。',
      advice: ['在该代理中排除引擎的数据目录，或重启代理：它退出时内核会放行所有等待者。'],
    },
  },
  REMOTE_FILESYSTEM_WAIT: {
    severity: 'problem',
    en: {
      title: 'A process of the pull waits for whoever serves a filesystem, and gets no answer',
      meaning:
        'It sleeps in FUSE, NFS, CIFS, Ceph or 9p: the process or the server behind that filesystem has taken its question and does not answer.',
      advice: [
        'Look at the server of that filesystem: for FUSE the process that mounted it (ps, /proc/mounts), for NFS the host behind it.',
        'For a dead FUSE mount: echo 1 >/sys/fs/fuse/connections/ID/abort (ID is the minor device number of the mount) ends all waits with an error.',
        'Keep the data of the engine on a local disk.',
      ],
    },
    zh: {
      title: '拉取中的一个进程在等待文件系统的服务方，而得不到回答',
      meaning: '它在 FUSE、NFS、CIFS、Ceph 或 9p 中睡眠：该文件系统背后的进程或服务器收到了请求，却没有回答。',
      advice: [
        '检查该文件系统的服务方：FUSE 是挂载它的进程（ps、/proc/mounts），NFS 是其背后的主机。',
        '对于失效的 FUSE 挂载：echo 1 >/sys/fs/fuse/connections/ID/abort（ID 为该挂载的次设备号）会使所有等待以错误结束。',
        '把引擎的数据放在本地磁盘上。',
      ],
    },
  },
  CGROUP_FROZEN: {
    severity: 'problem',
    en: {
      title: 'The pull is frozen by its control group',
      meaning: 'The freezer of the control group holds its tasks (a paused container, systemctl freeze).',
      advice: ['Thaw the group: systemctl thaw UNIT, or write THAWED to freezer.state, or 0 to cgroup.freeze.'],
    },
    zh: {
      title: '拉取被其控制组冻结',
      meaning: '控制组的 freezer 持有其任务（暂停的容器、systemctl freeze）。',
      advice: ['解冻该组：systemctl thaw 单元，或向 freezer.state 写入 THAWED，或向 cgroup.freeze 写入 0。'],
    },
  },
  MEMORY_LIMIT: {
    severity: 'problem',
    en: {
      title: 'The pull is held up by the memory limit of its control group',
      meaning:
        'Its tasks sleep until memory of their control group is freed: the limit is reached, and the kernel does not kill or was told not to.',
      advice: ['Raise the limit of the control group of the engine (MemoryMax, MemoryHigh), or free memory in it.'],
    },
    zh: {
      title: '拉取被其控制组的内存上限挡住',
      meaning: '其任务在等待所在控制组释放内存：上限已到，而内核没有（或被要求不）杀进程。',
      advice: ['提高引擎所在控制组的上限（MemoryMax、MemoryHigh），或释放其中的内存。'],
    },
  },
  LOST_WAKEUP: {
    severity: 'problem',
    en: {
      title: 'A process waits for input that is already there',
      meaning: 'It sleeps in a read of a pipe that has bytes in it: the kernel has lost a wake-up.',
      advice: ['kill -STOP and kill -CONT of this process wake it up without harm.'],
    },
    zh: {
      title: '有进程在等待已经存在的输入',
      meaning: '它睡在读取一个有数据的管道上：内核丢失了一次唤醒。',
      advice: ['对该进程执行 kill -STOP 再 kill -CONT 可无害地唤醒它。'],
    },
  },
  PULL_UNEXPLAINED: {
    severity: 'problem',
    en: {
      title: 'A pull stands still, and what can be seen does not tell why',
      meaning: 'No process of it moved anything, and none can be shown to be guilty. No cause is guessed.',
      advice: ['Run as root if this was not; keep the evidence with --bundle.'],
    },
    zh: {
      title: '有拉取停滞，但可见的信息不足以说明原因',
      meaning: '它的进程都没有任何进展，也无法证明哪一个有责任。这里不作猜测。',
      advice: ['若不是以 root 运行，请以 root 运行；用 --bundle 保留证据。'],
    },
  },
  TRANSFER_POISONED: {
    severity: 'problem',
    en: {
      title: 'Pulls wait for an earlier transfer of the same layer that has not ended',
      meaning:
        'A pull of the same layer was cancelled before and never left the engine’s table. Every later pull of that layer waits for it, prints nothing, and cannot be cancelled.',
      advice: [
        'If a decompressor of the engine is left over, ending it frees them; otherwise only a restart of the engine does (live-restore keeps the containers running).',
      ],
    },
    zh: {
      title: '拉取在等待同一层一个尚未结束的早先传输',
      meaning: '同一层之前的拉取被取消，却从未离开引擎的表。之后对该层的每次拉取都会等待它，没有输出，也无法取消。',
      advice: ['若引擎还遗留有解压程序，结束它即可释放；否则只能重启引擎（live-restore 可保持容器运行）。'],
    },
  },
  CONTAINERD_SILENT: {
    severity: 'problem',
    en: {
      title: 'Pulls wait for a containerd that does not answer the engine',
      meaning:
        'dockerd asks its containerd before it downloads anything, and waits without a bound. Either that containerd hangs or is stopped, or the connection is dead at dockerd’s end: after a write that failed, as where memory was short, grpc writes there no more, and nobody notices.',
      advice: [
        'See what is told of that containerd. If it is well (ctr -a SOCKET version answers), only a restart of dockerd frees its pulls (live-restore keeps the containers running).',
      ],
    },
    zh: {
      title: '拉取在等待一个不应答引擎的 containerd',
      meaning:
        'dockerd 在下载之前先询问它的 containerd，且等待没有时限。要么该 containerd 挂起或被停住，要么连接在 dockerd 一端已失效：一次写入失败（例如内存不足）之后，grpc 不再写入，也无人察觉。',
      advice: [
        '查看关于该 containerd 的结果。若它正常（ctr -a SOCKET version 有应答），只有重启 dockerd 才能释放这些拉取（live-restore 可保持容器运行）。',
      ],
    },
  },
  DOWNLOAD_SILENT: {
    severity: 'problem',
    en: {
      title: 'A download stands still: no byte of the layer has come for a while',
      meaning:
        'The registry, or a proxy before it, has stopped in the middle of a body. No engine bounds this wait; it may last for ever.',
      advice: [
        'Cancel and pull again; look at the registry, the proxy and the network. windlass pull asks again by itself, from where it stands.',
      ],
    },
    zh: {
      title: '下载停滞：已有一段时间没有收到该层的任何字节',
      meaning: '镜像仓库或其前面的代理在响应体中途停住。没有引擎对此等待设限，可能永远持续。',
      advice: ['取消后重新拉取；检查仓库、代理和网络。windlass pull 会自行从断点重新请求。'],
    },
  },
  PULL_UNANSWERED: {
    severity: 'warning',
    en: {
      title: 'A pull has asked, and has had no answer for a minute or longer',
      meaning:
        'A pull waits for a manifest, for the configuration of its image, for the beginning of another part, or for the rest of one of the first two, whatever other pulls of the engine do meanwhile. No engine bounds this wait (dockerd that of a token alone). The registry, its token service, or a proxy has taken the question and says nothing.',
      advice: [
        'windlass doctor --image REF asks the same registry as the engine would, and says where it is met with silence.',
        'Cancel and pull again; windlass pull gives up a question after 30 s, and asks again.',
      ],
    },
    zh: {
      title: '拉取已发出请求，一分钟以上没有得到应答',
      meaning:
        '某个拉取在等待清单、镜像配置或其他部分的开头，或等待前两者的其余内容，不论该引擎的其他拉取是否在进行。没有引擎限制这种等待（dockerd 只限制令牌的等待）。镜像仓库、其令牌服务或代理接受了请求却没有应答。',
      advice: [
        'windlass doctor --image REF 会像引擎一样询问同一镜像仓库，并说明在哪里得不到应答。',
        '取消后重新拉取；windlass pull 在 30 秒后放弃一次询问并重新发出。',
      ],
    },
  },
  NO_PROCESSOR: {
    severity: 'warning',
    en: {
      title: 'A process of the pull wants to run and gets no processor',
      meaning:
        'It is ready to run and was hardly given any time: the host is overloaded, or its control group is throttled. It is slow, not stuck.',
      advice: ['Look at the load, and at cpu.max or the CPU quota of the engine’s control group.'],
    },
    zh: {
      title: '拉取的一个进程想运行却得不到处理器',
      meaning: '它已就绪却几乎没有得到时间：主机过载，或其控制组被限流。它是慢，而不是卡住。',
      advice: ['查看负载，以及引擎控制组的 cpu.max 或 CPU 配额。'],
    },
  },
  PULL_MOVES: {
    severity: 'ok',
    en: { title: 'A pull goes on', meaning: 'Its bytes move.', advice: [] },
    zh: { title: '有拉取正在进行', meaning: '其数据在移动。', advice: [] },
  },
  PULL_WAITS: {
    severity: 'note',
    en: {
      title: 'A pull, or a transfer by a client, has not moved while it was looked at, and nobody is accused',
      meaning:
        'Nothing moved during the look, but not long enough to accuse anybody; or what is waited for is a client that loads, imports, builds or copies; or nobody is at fault.',
      advice: ['Look again in a minute, or longer with --watch. Where a client is waited for, look at that one.'],
    },
    zh: {
      title: '观察期间有拉取或客户端的传输没有进展，不归咎于任何一方',
      meaning: '观察期间没有移动，但时间不足以归咎于谁；或者等待的是正在加载、导入、构建或复制的客户端；或者无人有错。',
      advice: ['一分钟后再看，或用 --watch 持续观察。若等待的是客户端，请检查该客户端。'],
    },
  },
  PULLS_HIDDEN: {
    severity: 'unseen',
    en: {
      title: 'Whether a pull goes on cannot be seen',
      meaning: 'Pipes, system calls and counters of another user’s processes are shown only to who may trace them.',
      advice: ['Run windlass doctor as root.'],
    },
    zh: {
      title: '无法看到是否有拉取正在进行',
      meaning: '其他用户进程的管道、系统调用和计数器只对有跟踪权的人可见。',
      advice: ['请以 root 运行 windlass doctor。'],
    },
  },
  DOWNLOADS_UNSEEN: {
    severity: 'unseen',
    en: {
      title: 'Layers that an engine has open cannot be looked at: their disk does not answer',
      meaning:
        'An engine has files open that it downloads layers to. Whether they grow cannot be seen, and who asks about them hangs.',
      advice: ['See to the disk, the server or the program behind the directory, and look again.'],
    },
    zh: {
      title: '无法查看引擎打开的层文件：其磁盘没有应答',
      meaning: '引擎打开了用于下载层的文件。无法看到它们是否在增长，询问者会卡住。',
      advice: ['检查该目录背后的磁盘、服务器或程序，然后再看。'],
    },
  },
  NO_PULL: {
    severity: 'ok',
    en: { title: 'No pull is going on', meaning: 'No engine downloads or unpacks a layer.', advice: [] },
    zh: { title: '没有正在进行的拉取', meaning: '没有引擎在下载或解包。', advice: [] },
  },
  PIPE_HELD: {
    severity: 'problem',
    en: {
      title: 'A process that was left behind holds a pipe that the engine waits for',
      meaning:
        'A decompressor (or a script in its place) has ended and left a process behind that can still write to its output or stderr. The engine believes in the end of a program only when nobody can: the pull hangs with all its layers here, and nothing seems to run.',
      advice: [
        'kill PID, the process that holds the pipe: the pull goes on by itself.',
        'Find out what started it: a wrapper around unpigz must not leave anything behind.',
      ],
    },
    zh: {
      title: '一个遗留进程持有引擎正在等待的管道',
      meaning:
        '解压程序（或代替它的脚本）已结束，但留下一个仍可写其输出或 stderr 的进程。只有无人能写时引擎才认为程序已结束：各层都已到位，拉取却卡住，看起来什么也没在运行。',
      advice: [
        'kill PID 结束持有该管道的进程：拉取会自行继续。',
        '查明是谁启动了它：包装 unpigz 的脚本不应遗留任何进程。',
      ],
    },
  },
  FETCH_PLACES_LOST: {
    severity: 'problem',
    en: {
      title: 'Downloads wait for a place among the parallel ones, and nobody has one',
      meaning:
        'containerd 2.1.0 to 2.1.3 does not give such a place back after certain failures. When all are lost, every pull waits for ever.',
      advice: ['Restart containerd; containers go on. Upgrade to 2.1.4 or 2.2.0.'],
    },
    zh: {
      title: '下载在等待并行名额，而名额无人占用',
      meaning: 'containerd 2.1.0 至 2.1.3 在某些失败后不归还名额。全部丢失后，所有拉取都会永远等待。',
      advice: ['重启 containerd，容器会继续运行。请升级到 2.1.4 或 2.2.0。'],
    },
  },
  DOWNLOADS_LEFT: {
    severity: 'note',
    en: {
      title: 'Parts of layers are left over from downloads that ended',
      meaning:
        'dockerd begins anew and forgets them; containerd goes on with its own if the same layer is pulled again.',
      advice: ['dockerd removes them when it is started; for containerd: ctr content prune references.'],
    },
    zh: {
      title: '遗留有已结束下载的层片段',
      meaning: 'dockerd 会从头开始并忘记它们；containerd 再次拉取同一层时会接着用自己的片段。',
      advice: ['dockerd 启动时会删除它们；containerd 可用：ctr content prune references。'],
    },
  },
} as const satisfies Entries
