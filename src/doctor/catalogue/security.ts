/** Who is asked before files are opened. */
import type { Entries } from './entry.ts'

export const security = {
  FANOTIFY_LISTENER: {
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
    severity: 'ok',
    en: { title: 'No program gates access to files', meaning: 'No fanotify listener was seen.', advice: [] },
    zh: { title: '没有程序拦截文件访问', meaning: '没有发现 fanotify 监听者。', advice: [] },
  },
  SECURITY_UNSEEN: {
    severity: 'unseen',
    en: {
      title: 'Whether a program gates access to files cannot be seen',
      meaning: 'The descriptors of other users’ processes are open to root only.',
      advice: ['Run windlass doctor as root.'],
    },
    zh: {
      title: '无法看到是否有程序拦截文件访问',
      meaning: '其他用户进程的描述符只对 root 开放。',
      advice: ['请以 root 运行 windlass doctor。'],
    },
  },
} as const satisfies Entries
