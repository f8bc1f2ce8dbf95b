;;; session.el --- Drives Emacs's own LSP client, eglot: save, diagnostics, code action, edit -*- lexical-binding: t -*-

;; Prints `ok NAME' or `FAIL NAME DETAIL' for each check.
;; Arguments by environment: OCI_PYTHON, OCI_PROJECT, OCI_SCENARIO (save, cancel, changed), OCI_SETTINGS (JSON).

;;; Code:

(package-initialize)
(require 'cl-lib)
(require 'eglot)
(require 'flymake)
(require 'json)
(require 'python)

(defvar session-project (file-name-as-directory (getenv "OCI_PROJECT")))
(defvar session-scenario (getenv "OCI_SCENARIO"))
(defvar session-settings
  (json-parse-string (getenv "OCI_SETTINGS") :object-type 'plist :false-object :json-false))
(defvar session-failed nil)
(defvar session-asked nil "What the user was asked.")
(defvar session-said nil "Messages of the server, the latest first.")

(defun session-check (name ok &optional detail)
  "Print whether check NAME is OK, with DETAIL if it is not."
  (princ (if ok (format "ok %s\n" name) (format "FAIL %s %S\n" name detail)))
  (unless ok (setq session-failed t))
  ok)

(defun session-wait (condition)
  "Wait until CONDITION returns something, and return that."
  (let ((end (+ (float-time) 150)) value)
    (while (and (not (setq value (funcall condition))) (< (float-time) end))
      (accept-process-output nil 0.05))
    value))

(defun session-open (name)
  "Return the buffer of file NAME of the project."
  (let ((buffer (find-file-noselect (expand-file-name name session-project))))
    (with-current-buffer buffer
      (unless (derived-mode-p 'python-mode) (python-mode)))
    buffer))

(defun session-shown (buffer)
  "Return the diagnostics of BUFFER."
  (with-current-buffer buffer
    (flymake-start)
    (flymake-diagnostics)))

(defun session-stepped (part)
  "Return whether a message has PART in it."
  (cl-some (lambda (step) (string-match-p (regexp-quote part) step)) session-said))

(defun session-write (buffer)
  "Save BUFFER, also if it was not changed."
  (with-current-buffer buffer
    (set-buffer-modified-p t)
    (let ((inhibit-message t)) (save-buffer))))

;; What a user would choose from the menus that eglot shows.
(defun session-choose (prompt collection &rest _)
  "Answer PROMPT with the wanted one of COLLECTION."
  (let ((choices (all-completions "" collection)))
    (push prompt session-asked)
    (or (cl-find "Fix failing test with OCI" choices :test #'string=)
        (cl-find "Apply" choices :test #'string=)
        (car choices))))
(advice-add 'completing-read :override #'session-choose)
(advice-add 'y-or-n-p :override (lambda (prompt) (push prompt session-asked) t))

(cl-defmethod eglot-handle-notification :before
  (_server (_method (eql window/showMessage)) &key _type message)
  "Take note of MESSAGE."
  (push message session-said))
;; This eglot shows no progress, so the server logs it.
(cl-defmethod eglot-handle-notification :before
  (_server (_method (eql window/logMessage)) &key _type message)
  "Take note of MESSAGE."
  (push message session-said))

(setq last-nonmenu-event 13             ; else eglot would show a menu for the mouse
      make-backup-files nil
      create-lockfiles nil
      eglot-sync-connect 60
      eglot-connect-timeout 60
      eglot-autoshutdown nil
      eglot-confirm-server-initiated-edits nil
      eglot-server-programs `((python-mode . (,(getenv "OCI_PYTHON") "-m" "lsp_server.server"))))
(setq-default eglot-workspace-configuration (list (cons :oci session-settings)))
(add-hook 'project-find-functions (lambda (_directory) (cons 'transient session-project)))

(let* ((code (session-open "calc.py"))
       (test (session-open "test_calc.py"))
       (text (lambda () (with-current-buffer code (buffer-string))))
       (before (funcall text))
       server)
  (with-current-buffer code (call-interactively #'eglot))
  (setq server (with-current-buffer code (session-wait #'eglot-current-server)))
  (session-check "the client has started" server)
  (with-current-buffer test (eglot--maybe-activate-editing-mode))

  (when (equal session-scenario "save")
    (session-write code)
    (session-check "both places are shown"
                   (session-wait (lambda () (and (session-shown code) (session-shown test))))
                   session-said)
    (session-check "the values are told"
                   (string-match-p (regexp-quote "where -1 = add(2, 3)")
                                   (flymake-diagnostic-text (car (session-shown test))))
                   (session-shown test)))

  (with-current-buffer test
    (goto-char (point-min))
    (search-forward "assert add")
    (call-interactively #'eglot-code-actions))
  (pcase session-scenario
    ("save"
     (session-check "the edit is in the buffer"
                    (session-wait (lambda () (string-match-p (regexp-quote "a + b") (funcall text))))
                    (list (funcall text) session-said))
     (session-check "the rest of the buffer is the same"
                    (equal (string-replace "a + b" "a - b" (funcall text)) before)
                    (funcall text))
     (session-check "the user was asked, with the receipt"
                    (cl-some (lambda (prompt) (string-match-p "OCI verified" prompt)) session-asked)
                    session-asked)
     (session-write code)
     (session-check "nothing is shown any more"
                    (session-wait (lambda () (not (or (session-shown code) (session-shown test)))))
                    (list (session-shown code) (session-shown test))))
    ("cancel"
     (session-check "the model writes"
                    (session-wait (lambda () (session-stepped "characters written")))
                    session-said)
     (eglot-execute-command server 'oci.cancel (vector (make-hash-table)))
     (session-check "it says that it was stopped"
                    (session-wait (lambda () (session-stepped "Stopped"))) session-said)
     (session-check "the buffer is the same" (equal (funcall text) before) (funcall text)))
    ("changed"
     (session-check "the model writes"
                    (session-wait (lambda () (session-stepped "characters written")))
                    session-said)
     (with-current-buffer code
       (goto-char (point-min))
       (search-forward "a - b")
       (insert "  # mine"))
     (let ((mine (funcall text)))
       ;; What was typed is sent when Emacs is idle, which it never is in a batch.
       (with-current-buffer code (eglot--signal-textDocument/didChange))
       (session-check "it says that nothing was applied"
                      (session-wait (lambda () (session-stepped "Nothing was applied"))) session-said)
       (session-check "the buffer is as the user typed it" (equal (funcall text) mine) (funcall text)))))

  (dolist (buffer (list code test))
    (with-current-buffer buffer (set-buffer-modified-p nil)))
  (let ((process (jsonrpc--process server)))
    (eglot-shutdown server nil 30)
    (session-check "the server has ended" (session-wait (lambda () (not (process-live-p process)))))))
(kill-emacs (if session-failed 1 0))
;;; session.el ends here
