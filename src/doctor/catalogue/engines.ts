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
} as const satisfies Entries
