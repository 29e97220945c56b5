/** Which engines run, and how. */
import type { Entries } from './entry.ts'

export const engines = {
  ENGINE_RUNS: {
    severity: 'ok',
    en: { title: 'Runs', meaning: 'The engine runs, and its settings are known.', advice: [] },
    zh: { title: '正在运行', meaning: '引擎在运行，其设置已知。', advice: [] },
  },
  ENGINE_HIDDEN: {
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
  PROCESSES_HIDDEN: {
    severity: 'unseen',
    en: {
      title: 'Not all processes of this host can be seen',
      meaning:
        'Where processes are hidden (hidepid of /proc, a container with process IDs of its own, no /proc at all), so are engines, their pulls, and whoever is asked before files are opened.',
      advice: [
        'Run windlass doctor as root, and on the host itself, not inside a container (or in one with the process IDs and the /proc of the host: --pid=host).',
      ],
    },
    zh: {
      title: '无法看到本机的全部进程',
      meaning:
        '进程被隐藏时（/proc 的 hidepid、有自己的进程号空间的容器、没有 /proc），引擎、其拉取以及打开文件前被询问的程序也都看不到。',
      advice: [
        '请以 root 在主机本身上运行 windlass doctor，而不是在容器内（或使用主机进程号和 /proc 的容器：--pid=host）。',
      ],
    },
  },
  NO_ENGINE: {
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
  ENGINE_KNOWN_FAULT: {
    severity: 'note',
    en: {
      title: 'This version of the engine has a known fault that concerns pulls',
      meaning: 'Going by its number; a distribution may have mended its own build. The evidence names the fault.',
      advice: ['Upgrade the engine when it suits.'],
    },
    zh: {
      title: '该版本的引擎有一个影响拉取的已知缺陷',
      meaning: '仅按版本号判断；发行版可能已修补。证据中写明是哪个缺陷。',
      advice: ['请在合适的时候升级引擎。'],
    },
  },
  SETTING_NOT_LOADED: {
    severity: 'warning',
    en: {
      title: 'A setting stands in a file and not in the running engine',
      meaning:
        'The file was changed after the engine was started, or systemd was not told: the setting does not hold yet. Or it stands behind the word export, which the shell reads and systemd does not: it never holds then.',
      advice: ['Take the word export away, if it stands there; systemctl daemon-reload, then restart the engine.'],
    },
    zh: {
      title: '设置写在文件里，但正在运行的引擎没有',
      meaning:
        '文件在引擎启动后被修改，或没有通知 systemd：该设置尚未生效。也可能该行以 export 开头：shell 会读取，systemd 不会，这样的设置永远不生效。',
      advice: ['若该行以 export 开头，请去掉 export；systemctl daemon-reload，然后重启引擎。'],
    },
  },
  LOCK_WAIT: {
    severity: 'warning',
    en: {
      title: 'The engine waits for a lock on a file that another process has',
      meaning:
        'All that it would do stands still meanwhile: podman’s storage lock, containerd’s and docker’s databases are each held by one.',
      advice: ['Look at the process that has it; if it hangs, ending it gives the lock back.'],
    },
    zh: {
      title: '引擎在等待另一个进程持有的文件锁',
      meaning: '其间它要做的一切都停着：podman 的存储锁、containerd 与 docker 的数据库都只能由一个进程持有。',
      advice: ['检查持有锁的进程；若它卡住，结束它即可归还锁。'],
    },
  },
} as const satisfies Entries
