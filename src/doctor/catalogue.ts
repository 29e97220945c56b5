/** Everything that the doctor can find, in words for people. A finding's code never changes; `explain` tells what stands here. */

export type Severity = 'problem' | 'warning' | 'note' | 'ok' | 'unseen'
export type Area = 'engines' | 'pulls' | 'decompressors' | 'disks' | 'security' | 'resources' | 'host'

/** The order in which areas are shown. */
export const areas: readonly Area[] = ['engines', 'pulls', 'decompressors', 'disks', 'security', 'resources', 'host']

interface Words {
  /** What is so, in half a line. */
  readonly title: string
  /** What it means, and how it comes about. */
  readonly meaning: string
  /** What to do; the first is the smallest step. */
  readonly advice: readonly string[]
}

interface Entry {
  readonly area: Area
  readonly severity: Severity
  readonly en: Words
  readonly zh: Words
}

const withoutDecompressor = {
  en: 'Bring the image in without the decompressor of the engine: windlass pull --into docker REF (or containerd) decompresses in process.',
  zh: '绕过引擎的解压程序导入镜像：windlass pull --into docker REF（或 containerd）在进程内解压。',
}
const killOne = {
  en: 'kill -9 of this one decompressor frees every pull that waits for it, with an error (unexpected EOF); put the workaround in place first, then pull again.',
  zh: '对该解压进程执行 kill -9 会释放所有等待它的拉取，但会报错（unexpected EOF）；请先做好规避措施，再重新拉取。',
}
const disablePigz = {
  en: 'Keep the engine from using it: MOBY_DISABLE_PIGZ=true for dockerd, CONTAINERD_DISABLE_PIGZ=true for containerd, in the environment of the daemon, which needs a restart.',
  zh: '禁止引擎使用它：在守护进程的环境中为 dockerd 设置 MOBY_DISABLE_PIGZ=true，为 containerd 设置 CONTAINERD_DISABLE_PIGZ=true，需要重启守护进程。',
}
const stuckDecompressor = {
  en: [withoutDecompressor.en, killOne.en, disablePigz.en],
  zh: [withoutDecompressor.zh, killOne.zh, disablePigz.zh],
}

const table = {
  DECOMPRESSOR_SPINS: {
    area: 'pulls',
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
    area: 'pulls',
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
    area: 'pulls',
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
    area: 'pulls',
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
    area: 'pulls',
    severity: 'problem',
    en: {
      title: 'The decompressor is stopped by a signal or a debugger',
      meaning: 'State T (SIGSTOP, SIGTSTP) or t (a tracer such as strace or gdb). It goes on as soon as it is let.',
      advice: ['kill -CONT PID lets it go on, and the pull with it; if a tracer holds it, end the tracer.'],
    },
    zh: {
      title: '解压程序被信号或调试器停住',
      meaning: '状态 T（SIGSTOP、SIGTSTP）或 t（strace、gdb 等跟踪程序）。一旦放行就会继续。',
      advice: ['kill -CONT PID 可让它连同拉取一起继续；若被跟踪程序持有，请结束该跟踪程序。'],
    },
  },
  DECOMPRESSOR_CLOSED_OUTPUT: {
    area: 'pulls',
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
    area: 'pulls',
    severity: 'problem',
    en: {
      title: 'The decompressor moves so few bytes that the pull will not end',
      meaning:
        'It had input and room all the time, and moved less than the slowest healthy one by a factor of a thousand.',
      advice: stuckDecompressor.en,
    },
    zh: {
      title: '解压程序移动的字节太少，拉取不会结束',
      meaning: '它一直有输入和空间，速度却比最慢的正常程序还低一千倍。',
      advice: stuckDecompressor.zh,
    },
  },
  UNTAR_STOPPED: {
    area: 'pulls',
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
    area: 'pulls',
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
    area: 'pulls',
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
  ENGINE_DOES_NOT_FEED: {
    area: 'pulls',
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
    area: 'pulls',
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
    area: 'pulls',
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
    area: 'pulls',
    severity: 'problem',
    en: {
      title: 'The pull waits for a disk or a filesystem that does not answer',
      meaning:
        'A task of it sleeps in the kernel in state D, where no signal reaches it, and has not come back. Nobody can kill it; the disk has to answer.',
      advice: [
        'Look at dmesg, at the device and at the mount under the data root; a dead network filesystem may be unmounted with umount -f -l.',
      ],
    },
    zh: {
      title: '拉取在等待没有应答的磁盘或文件系统',
      meaning: '它的一个任务以 D 状态睡在内核中，信号无法到达，且一直没有返回。谁也无法杀死它，只能等磁盘应答。',
      advice: ['查看 dmesg、数据目录所在的设备和挂载；失效的网络文件系统可用 umount -f -l 卸载。'],
    },
  },
  FILESYSTEM_FROZEN: {
    area: 'pulls',
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
    area: 'pulls',
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
  CGROUP_FROZEN: {
    area: 'pulls',
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
    area: 'pulls',
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
    area: 'pulls',
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
    area: 'pulls',
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
    area: 'pulls',
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
  DOWNLOAD_SILENT: {
    area: 'pulls',
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
  NO_PROCESSOR: {
    area: 'pulls',
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
    area: 'pulls',
    severity: 'ok',
    en: { title: 'A pull goes on', meaning: 'Its bytes move.', advice: [] },
    zh: { title: '有拉取正在进行', meaning: '其数据在移动。', advice: [] },
  },
  PULL_WAITS: {
    area: 'pulls',
    severity: 'note',
    en: {
      title: 'A pull has not moved while it was looked at, for too short a time to judge',
      meaning: 'Nothing moved during the look, but not long enough to accuse anybody.',
      advice: ['Look again in a minute, or longer with --watch.'],
    },
    zh: {
      title: '观察期间有拉取没有进展，但时间太短，无法判断',
      meaning: '观察期间没有移动，但还不足以归咎于谁。',
      advice: ['一分钟后再看，或用 --watch 持续观察。'],
    },
  },
  PULLS_HIDDEN: {
    area: 'pulls',
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
  NO_PULL: {
    area: 'pulls',
    severity: 'ok',
    en: { title: 'No pull is going on', meaning: 'No engine downloads or unpacks a layer.', advice: [] },
    zh: { title: '没有正在进行的拉取', meaning: '没有引擎在下载或解包。', advice: [] },
  },
  ENGINE_RUNS: {
    area: 'engines',
    severity: 'ok',
    en: { title: 'Runs', meaning: 'The engine runs, and its settings are known.', advice: [] },
    zh: { title: '正在运行', meaning: '引擎在运行，其设置已知。', advice: [] },
  },
  ENGINE_HIDDEN: {
    area: 'engines',
    severity: 'unseen',
    en: {
      title: 'The engine runs, and may not be looked into',
      meaning:
        'Its environment, descriptors and children are open to root only (or to its own user, with the right to trace).',
      advice: ['Run windlass doctor as root.'],
    },
    zh: {
      title: '引擎在运行，但无权查看其内部',
      meaning: '其环境、描述符和子进程只对 root（或同一用户且有跟踪权）开放。',
      advice: ['请以 root 运行 windlass doctor。'],
    },
  },
  NO_ENGINE: {
    area: 'engines',
    severity: 'note',
    en: {
      title: 'No container engine runs here',
      meaning: 'No dockerd, containerd, podman, CRI-O or buildkitd.',
      advice: [],
    },
    zh: {
      title: '本机没有运行容器引擎',
      meaning: '没有 dockerd、containerd、podman、CRI-O 或 buildkitd。',
      advice: [],
    },
  },
  ENGINE_REPLACED: {
    area: 'engines',
    severity: 'warning',
    en: {
      title: 'The engine’s program was replaced since it was started',
      meaning: 'It runs an older file than the one on the disk; what is installed says nothing about what runs.',
      advice: ['Restart the engine when it suits.'],
    },
    zh: {
      title: '引擎的程序文件在启动后被替换',
      meaning: '运行的文件比磁盘上的旧；已安装的版本不代表正在运行的版本。',
      advice: ['请在合适的时候重启引擎。'],
    },
  },
  ENGINE_SILENT: {
    area: 'engines',
    severity: 'warning',
    en: {
      title: 'The engine does not answer on its socket',
      meaning: 'The process is there, and a plain question was not answered within three seconds.',
      advice: ['Look at the other findings: it may be stopped, or wait for a disk.'],
    },
    zh: {
      title: '引擎在其套接字上没有应答',
      meaning: '进程存在，但一个简单的询问三秒内没有得到回答。',
      advice: ['参见其他结论：它可能被停住，或在等待磁盘。'],
    },
  },
  DECOMPRESSOR_SETTING_INVALID: {
    area: 'decompressors',
    severity: 'problem',
    en: {
      title: 'The variable that forbids the decompressor has a value that the engine does not understand',
      meaning:
        'Only 1, t, T, TRUE, true, True and 0, f, F, FALSE, false, False are understood. dockerd 18.02 to 19.03 fails every pull with others; later ones, and containerd, warn in their log and use the decompressor all the same.',
      advice: ['Set it to true, and restart the engine.'],
    },
    zh: {
      title: '用于禁用解压程序的变量的值引擎无法识别',
      meaning:
        '只识别 1、t、T、TRUE、true、True 和 0、f、F、FALSE、false、False。dockerd 18.02 至 19.03 遇到其他值时所有拉取失败；更新的版本和 containerd 只在日志中警告，仍然使用解压程序。',
      advice: ['将其设为 true 并重启引擎。'],
    },
  },
  DECOMPRESSOR_SETTING_IGNORED: {
    area: 'decompressors',
    severity: 'warning',
    en: {
      title: 'A variable is set that this engine does not read',
      meaning:
        'MOBY_DISABLE_PIGZ is read by dockerd alone, CONTAINERD_DISABLE_PIGZ by containerd and buildkitd alone; podman and CRI-O read neither.',
      advice: ['Set the variable that this engine reads.'],
    },
    zh: {
      title: '设置了该引擎不读取的变量',
      meaning:
        'MOBY_DISABLE_PIGZ 只有 dockerd 读取，CONTAINERD_DISABLE_PIGZ 只有 containerd 和 buildkitd 读取；podman 和 CRI-O 都不读取。',
      advice: ['设置该引擎所读取的变量。'],
    },
  },
  DECOMPRESSOR_FAULTY: {
    area: 'decompressors',
    severity: 'problem',
    en: {
      title: 'A decompressor that the engine runs failed its probe',
      meaning: 'It hung, or gave wrong bytes, on a stream that it must be able to decompress. Pulls will hang or fail.',
      advice: [disablePigz.en, withoutDecompressor.en],
    },
    zh: {
      title: '引擎使用的解压程序未通过检验',
      meaning: '在它必须能解压的数据流上，它卡住或给出了错误的字节。拉取会卡住或失败。',
      advice: [disablePigz.zh, withoutDecompressor.zh],
    },
  },
  DECOMPRESSOR_UNPROVEN: {
    area: 'decompressors',
    severity: 'note',
    en: {
      title: 'The engine hands its layers to a program that was not probed',
      meaning: 'Nothing is known against it.',
      advice: ['windlass probe PATH tests it in some seconds.'],
    },
    zh: {
      title: '引擎把层交给一个未经检验的程序',
      meaning: '没有已知的问题。',
      advice: ['windlass probe 路径 可在数秒内检验它。'],
    },
  },
  DECOMPRESSOR_CERTIFIED: {
    area: 'decompressors',
    severity: 'ok',
    en: {
      title: 'The engine’s decompressor is certified',
      meaning: 'It passed every shape of the probe on this host.',
      advice: [],
    },
    zh: { title: '引擎的解压程序已通过认证', meaning: '它在本机通过了检验的所有形态。', advice: [] },
  },
  DECOMPRESSOR_IN_PROCESS: {
    area: 'decompressors',
    severity: 'ok',
    en: {
      title: 'The engine decompresses in its own process',
      meaning: 'No program of the host is used for gzip.',
      advice: [],
    },
    zh: { title: '引擎在自身进程内解压', meaning: 'gzip 不使用主机上的程序。', advice: [] },
  },
  DECOMPRESSOR_LEFT_OVER: {
    area: 'decompressors',
    severity: 'warning',
    en: {
      title: 'A decompressor is left over from a pull that is gone',
      meaning: 'The engine holds no end of its pipes any more: nobody will read what it writes.',
      advice: ['It may be ended.'],
    },
    zh: {
      title: '有解压程序是已消失的拉取遗留下来的',
      meaning: '引擎已不持有其管道的任何一端：没有人会读取它的输出。',
      advice: ['可以结束它。'],
    },
  },
  ZSTD_UNSUPPORTED: {
    area: 'decompressors',
    severity: 'warning',
    en: {
      title: 'This docker cannot read zstd layers',
      meaning: 'dockerd before 23.0 takes them for plain tars and fails with "archive/tar: invalid tar header".',
      advice: ['Upgrade docker, or let windlass convert the image.'],
    },
    zh: {
      title: '该 docker 无法读取 zstd 层',
      meaning: '23.0 之前的 dockerd 把它们当作普通 tar，报错 "archive/tar: invalid tar header"。',
      advice: ['升级 docker，或用 windlass 转换镜像。'],
    },
  },
  DISK_FULL: {
    area: 'disks',
    severity: 'problem',
    en: {
      title: 'The disk under the data root is full, or nearly so',
      meaning: 'A pull needs the compressed layers, the unpacked ones and temporary space at once.',
      advice: ['Remove images that nobody needs (docker image prune), or enlarge the disk.'],
    },
    zh: {
      title: '数据目录所在磁盘已满或将满',
      meaning: '一次拉取同时需要压缩层、解包后的层和临时空间。',
      advice: ['删除不需要的镜像（docker image prune），或扩大磁盘。'],
    },
  },
  INODES_EXHAUSTED: {
    area: 'disks',
    severity: 'problem',
    en: {
      title: 'The filesystem under the data root has hardly any inodes left',
      meaning: 'Every file of a layer needs one; df shows free space all the same (df -i shows inodes).',
      advice: ['Remove images that nobody needs, or make the filesystem anew with more inodes.'],
    },
    zh: {
      title: '数据目录所在文件系统的 inode 几乎用尽',
      meaning: '层中的每个文件都需要一个；df 仍会显示有空闲空间（df -i 显示 inode）。',
      advice: ['删除不需要的镜像，或以更多 inode 重建文件系统。'],
    },
  },
  DISK_FINE: {
    area: 'disks',
    severity: 'ok',
    en: { title: 'The data root has room', meaning: 'Blocks and inodes are free.', advice: [] },
    zh: { title: '数据目录有空间', meaning: '块和 inode 均有空闲。', advice: [] },
  },
  DISK_READ_ONLY: {
    area: 'disks',
    severity: 'problem',
    en: {
      title: 'The filesystem under the data root is read-only',
      meaning: 'It was mounted so, or the kernel made it so after an error.',
      advice: ['Look at dmesg; repair the filesystem, then mount it writable.'],
    },
    zh: {
      title: '数据目录所在文件系统是只读的',
      meaning: '它被如此挂载，或内核在出错后将其变为只读。',
      advice: ['查看 dmesg；修复文件系统后以可写方式挂载。'],
    },
  },
  DISK_SILENT: {
    area: 'disks',
    severity: 'warning',
    en: {
      title: 'The filesystem under the data root does not answer',
      meaning:
        'A plain question about it did not return within five seconds: a very busy disk, a dead network filesystem, a failing device, or an agent that gates access to it.',
      advice: ['Look at dmesg and at the mount; a dead network filesystem may be unmounted with umount -f -l.'],
    },
    zh: {
      title: '数据目录所在文件系统没有应答',
      meaning: '对它的一个简单询问在五秒内没有返回：磁盘非常繁忙、网络文件系统失效、设备故障，或有代理程序拦截访问。',
      advice: ['查看 dmesg 和挂载；失效的网络文件系统可用 umount -f -l 卸载。'],
    },
  },
  DISK_ON_NETWORK: {
    area: 'disks',
    severity: 'warning',
    en: {
      title: 'The data root is on a network filesystem or FUSE',
      meaning:
        'Unpacking writes very many small files; each waits for a server, and for ever if the server is gone. Overlay does not work on most of them.',
      advice: ['Put the data root on a local disk.'],
    },
    zh: {
      title: '数据目录位于网络文件系统或 FUSE 上',
      meaning: '解包会写入大量小文件，每个都要等待服务器；服务器失效时会永远等待。多数此类文件系统不支持 overlay。',
      advice: ['请把数据目录放到本地磁盘。'],
    },
  },
  OVERLAY_MISSING: {
    area: 'disks',
    severity: 'warning',
    en: {
      title: 'The kernel does not offer overlayfs',
      meaning: 'Engines fall back to slow drivers that copy whole layers (vfs) or fail.',
      advice: ['modprobe overlay.'],
    },
    zh: {
      title: '内核没有提供 overlayfs',
      meaning: '引擎会退回到复制整层的慢驱动（vfs）或失败。',
      advice: ['modprobe overlay。'],
    },
  },
  FANOTIFY_LISTENER: {
    area: 'security',
    severity: 'note',
    en: {
      title: 'A program is asked for permission when files are opened',
      meaning:
        'It listens with fanotify. Each file that a pull opens waits for its answer; one that does not answer holds up the host.',
      advice: ['Exclude the data root of the engines in it.'],
    },
    zh: {
      title: '有程序在文件打开时被询问许可',
      meaning: '它通过 fanotify 监听。拉取打开的每个文件都要等待它的回答；若不回答，会卡住整机。',
      advice: ['在其中排除各引擎的数据目录。'],
    },
  },
  SECURITY_CLEAR: {
    area: 'security',
    severity: 'ok',
    en: { title: 'No program gates access to files', meaning: 'No fanotify listener was seen.', advice: [] },
    zh: { title: '没有程序拦截文件访问', meaning: '没有发现 fanotify 监听者。', advice: [] },
  },
  OOM_KILLS: {
    area: 'resources',
    severity: 'warning',
    en: {
      title: 'The kernel has killed processes of the engine’s control group for want of memory',
      meaning: 'A decompressor or an untar that is killed ends a pull with "unexpected EOF" or "signal: killed".',
      advice: ['Raise the memory limit of the engine’s unit.'],
    },
    zh: {
      title: '内核因内存不足杀死过引擎控制组中的进程',
      meaning: '被杀的解压程序或 untar 会使拉取以 "unexpected EOF" 或 "signal: killed" 结束。',
      advice: ['提高引擎单元的内存上限。'],
    },
  },
  MEMORY_NEARLY_FULL: {
    area: 'resources',
    severity: 'warning',
    en: {
      title: 'The engine’s control group has hardly any memory left',
      meaning: 'Near its limit the kernel reclaims memory all the time, which slows everything in the group down.',
      advice: ['Raise the memory limit of the engine’s unit.'],
    },
    zh: {
      title: '引擎所在控制组的内存所剩无几',
      meaning: '接近上限时内核会不断回收内存，使组内一切变慢。',
      advice: ['提高引擎单元的内存上限。'],
    },
  },
  CPU_THROTTLED: {
    area: 'resources',
    severity: 'warning',
    en: {
      title: 'The engine’s control group is throttled by its CPU quota',
      meaning: 'Its processes stand still for a part of every period, although processors are free.',
      advice: ['Raise CPUQuota of the engine’s unit.'],
    },
    zh: {
      title: '引擎所在控制组被 CPU 配额限流',
      meaning: '其进程在每个周期中都有一部分时间停着，尽管处理器空闲。',
      advice: ['提高引擎单元的 CPUQuota。'],
    },
  },
  DISK_PRESSURE: {
    area: 'resources',
    severity: 'note',
    en: {
      title: 'Tasks of this host wait for disks much of their time',
      meaning: 'The kernel’s own measure (pressure stall information, io full) of the last ten seconds is high.',
      advice: ['See what writes (iotop), and whether the disk is as fast as it should be.'],
    },
    zh: {
      title: '本机任务有大量时间在等待磁盘',
      meaning: '内核自己的度量（PSI，io full）最近十秒偏高。',
      advice: ['查看谁在写入（iotop），以及磁盘是否达到应有速度。'],
    },
  },
  RESOURCES_FINE: {
    area: 'resources',
    severity: 'ok',
    en: {
      title: 'Memory and processors are not limited',
      meaning: 'No control group of an engine is at its limit.',
      advice: [],
    },
    zh: { title: '内存和处理器未受限', meaning: '没有引擎的控制组到达上限。', advice: [] },
  },
  ENTROPY_LOW: {
    area: 'host',
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
  CLOCK_WRONG: {
    area: 'host',
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
    area: 'host',
    severity: 'ok',
    en: { title: 'Clock and entropy are as they should be', meaning: 'Nothing is wrong with them.', advice: [] },
    zh: { title: '时钟与熵正常', meaning: '没有问题。', advice: [] },
  },
} as const satisfies Record<string, Entry>

export type FindingCode = keyof typeof table
export type Language = 'en' | 'zh'

/** By code. */
export const catalogue: Readonly<Record<FindingCode, Entry>> = table

export function isFindingCode(text: string): text is FindingCode {
  return Object.hasOwn(table, text)
}

/** Chinese where the locale says so, as the C library reads the variables. */
export function languageOf(env: Readonly<Record<string, string | undefined>>): Language {
  const locale = env['LC_ALL'] || env['LC_MESSAGES'] || env['LANG'] || ''
  return /^zh([_.@-]|$)/i.test(locale) ? 'zh' : 'en'
}
